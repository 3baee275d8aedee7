// SPDX-License-Identifier: Apache-2.0

import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.net.URLConnection;
import java.nio.file.Files;
import java.nio.file.Path;

/** Downloads each URL into the file that follows it, with the FTP client of java.net.URL. */
public final class Fetch {
    public static void main(String[] args) throws Exception {
        for (int i = 0; i < args.length; i += 2) {
            URLConnection c = URI.create(args[i]).toURL().openConnection();
            c.setConnectTimeout(10_000);
            c.setReadTimeout(10_000);
            try (InputStream in = c.getInputStream(); OutputStream out = Files.newOutputStream(Path.of(args[i + 1]))) {
                in.transferTo(out);
            }
        }
    }
}
