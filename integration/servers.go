// SPDX-License-Identifier: Apache-2.0

package integration

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed testdata/ftp_server.py
var serverScript string

// password is what every client sends; vsftpd runs with anonymous access and
// accepts any.
const password = "secret"

// Server is a running FTP server.
type Server struct {
	Kind *ServerKind
	// Home is the directory that clients see, Upload where they may write, and
	// Remote the path of Upload as clients give it, with a trailing slash.
	Home, Upload, Remote string
	User                 string
	host                 *Host
	listen               []netip.AddrPort
	procs                []*Process
}

// ServerKind is an FTP server program.
type ServerKind struct {
	Name string
	// program finds the executable; the error for a missing one names it.
	program func() (string, error)
	// anonymous servers allow anonymous logins, and writes only below upload/.
	anonymous bool
	// commands writes the configuration and returns what to start.
	commands func(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error)
}

// The servers under test.
var (
	Pyftpdlib = &ServerKind{Name: "pyftpdlib", program: pythonWith("pyftpdlib"), commands: pyftpdlib}
	Vsftpd    = &ServerKind{Name: "vsftpd", program: inPath("vsftpd"), anonymous: true, commands: vsftpd}
	Proftpd   = &ServerKind{Name: "proftpd", program: unpacked("usr/sbin/proftpd"), commands: proftpd}
	Pureftpd  = &ServerKind{Name: "pure-ftpd", program: unpacked("usr/sbin/pure-ftpd"), commands: pureftpd}
)

// ServerKinds are all of them.
var ServerKinds = []*ServerKind{Vsftpd, Proftpd, Pureftpd, Pyftpdlib}

// StartServer starts a server on these addresses and ports; it skips the test if
// the program is missing.
func (h *Host) StartServer(t testing.TB, k *ServerKind, listen ...netip.AddrPort) *Server {
	t.Helper()
	program, err := k.program()
	if err != nil {
		t.Skip(err)
	}
	s := &Server{Kind: k, Home: filepath.Join(h.Dir, k.Name), User: "pvp"}
	s.Upload = s.Home
	if k.anonymous {
		s.User, s.Upload, s.Remote = "anonymous", filepath.Join(s.Home, "upload"), "upload/"
	}
	if err := s.start(h, program, listen); err != nil {
		t.Fatalf("%s on %s: %v", k.Name, h.name, err)
	}
	return s
}

func (s *Server) start(h *Host, program string, listen []netip.AddrPort) error {
	s.host, s.listen = h, listen
	if err := os.MkdirAll(s.Upload, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(s.Upload, 0o777); err != nil {
		return err
	}
	if s.Kind.anonymous { // vsftpd refuses a root directory that its user can write to
		if err := os.Chmod(s.Home, 0o755); err != nil {
			return err
		}
	}
	commands, err := s.Kind.commands(h, s, program, listen)
	if err != nil {
		return err
	}
	for _, c := range commands {
		p, err := h.Start(c)
		if err != nil {
			return err
		}
		s.procs = append(s.procs, p)
	}
	for _, l := range listen {
		if err := h.WaitListen(20*time.Second, tcpFile(l.Addr()), l.Port()); err != nil {
			return fmt.Errorf("%w, output: %s", err, s.output())
		}
	}
	return nil
}

// Stop ends the server, so that another can use its port: a process that it
// started may hold the port a moment longer. It does not wait for a port that
// another server uses at another address.
func (s *Server) Stop() {
	for _, p := range s.procs {
		p.Kill()
	}
	for _, l := range s.listen {
		_ = waitFor(2*time.Second, "free port", func() bool { return !s.host.listens(tcpFile(l.Addr()), l.Port()) })
	}
}

func (s *Server) output() string {
	var b strings.Builder
	for _, p := range s.procs {
		b.WriteString(p.Output())
	}
	return b.String()
}

// tcpFile is the socket list in /proc/net for the family of this address.
func tcpFile(a netip.Addr) string {
	if a.Is4() {
		return "tcp"
	}
	return "tcp6"
}

func pyftpdlib(_ *Host, s *Server, python string, listen []netip.AddrPort) ([]Command, error) {
	type address = [2]any
	var addresses []address
	for _, l := range listen {
		addresses = append(addresses, address{l.Addr().String(), l.Port()})
	}
	job, err := json.Marshal(map[string]any{"root": s.Home, "user": s.User,
		"password": password, "listen": addresses, "passive": nil})
	return []Command{Cmd(python, "-c", serverScript, string(job))}, err
}

// vsftpd runs one process per address, as it has one listening socket. Its
// sandbox is off: on some kernels it kills the session's process.
func vsftpd(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error) {
	empty := filepath.Join(h.Dir, "empty")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return nil, err
	}
	var commands []Command
	for i, l := range listen {
		family := "listen=YES\nlisten_ipv6=NO\nlisten_address="
		if l.Addr().Is6() {
			family = "listen=NO\nlisten_ipv6=YES\nlisten_address6="
		}
		conf, err := h.File(fmt.Sprintf("vsftpd%d.conf", i), fmt.Sprintf(`%s%s
listen_port=%d
ftp_data_port=%d
connect_from_port_20=YES
background=NO
anonymous_enable=YES
local_enable=NO
anon_root=%s
write_enable=YES
anon_upload_enable=YES
anon_umask=022
secure_chroot_dir=%s
seccomp_sandbox=NO
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file=%s/vsftpd%d.log
`, family, l.Addr(), l.Port(), l.Port()-1, s.Home, empty, h.Dir, i))
		if err != nil {
			return nil, err
		}
		commands = append(commands, Cmd(program, conf))
	}
	return commands, nil
}

// proftpd has one virtual server per address and port; its user exists only in a
// file of ours. DelayEngine would slow each login down.
func proftpd(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error) {
	users, err := h.File("proftpd.passwd", fmt.Sprintf("%s:%s:65534:65534::%s:/bin/false\n", s.User, passwordHash, s.Home))
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(users, 0o600); err != nil {
		return nil, err
	}
	groups, err := h.File("proftpd.group", "pvp:x:65534:\n")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, proftpdConf, h.Dir, users, groups)
	for i, l := range listen {
		if i == 0 {
			fmt.Fprintf(&b, "DefaultAddress %s\nPort %d\n", l.Addr(), l.Port())
			continue
		}
		fmt.Fprintf(&b, "<VirtualHost %s>\nPort %d\n</VirtualHost>\n", l.Addr(), l.Port())
	}
	conf, err := h.File("proftpd.conf", b.String())
	return []Command{{Args: []string{program, "-n", "-q", "-c", conf}, Env: libraries()}}, err
}

// passwordHash is crypt(3) of password.
const passwordHash = "$6$pasvport$wOHnCysel0azN2bVaZEXLLERh9xchwYY/3Xuv.kH3OSKU/26H9qoUxnc4hDAWnjslmcIvbpvm7WDL6fg2CrnH0"

const proftpdConf = `ServerName pvp
ServerType standalone
UseIPv6 on
SocketBindTight on
User nobody
Group nogroup
WtmpLog off
UseReverseDNS off
DefaultRoot ~
PidFile %[1]s/proftpd.pid
ScoreboardFile %[1]s/proftpd.score
DelayTable none
<IfModule mod_ctrls.c>
ControlsEngine off
</IfModule>
<Global>
DelayEngine off
AuthOrder mod_auth_file.c
RequireValidShell off
AllowOverwrite on
AllowStoreRestart on
Umask 022
AuthUserFile %[2]s
AuthGroupFile %[3]s
</Global>
`

// pureftpd runs one process per address, with our own user database. The hash is
// crypt's, as pure-pw's default takes half a second to check.
func pureftpd(h *Host, s *Server, program string, listen []netip.AddrPort) ([]Command, error) {
	users, err := h.File("pureftpd.passwd", fmt.Sprintf("%s:%s:65534:65534::%s/./::::::::::::\n", s.User, passwordHash, s.Home))
	if err != nil {
		return nil, err
	}
	db := filepath.Join(h.Dir, "pureftpd.pdb")
	pw := filepath.Join(filepath.Dir(program), "..", "bin", "pure-pw")
	out, err := h.Run(20*time.Second, Command{Env: libraries(), Args: []string{pw, "mkdb", db, "-f", users}})
	if err != nil {
		return nil, fmt.Errorf("pure-pw: %w: %s", err, out)
	}
	var commands []Command
	for i, l := range listen {
		family := "-4"
		if l.Addr().Is6() {
			family = "-6"
		}
		commands = append(commands, Command{Env: libraries(), Args: []string{program, family, "-A", "-E", "-H",
			"-l", "puredb:" + db, "-S", fmt.Sprintf("%s,%d", l.Addr(), l.Port()),
			"-g", fmt.Sprintf("%s/pureftpd%d.pid", h.Dir, i)}})
	}
	return commands, nil
}

func inPath(name string) func() (string, error) {
	return func() (string, error) {
		path, err := exec.LookPath(name)
		if err != nil { // Debian has servers in a directory of root's PATH
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			return "", fmt.Errorf("missing program: %s (scripts/peers installs it)", name)
		}
		return path, nil
	}
}

// peers is where scripts/peers unpacks programs that cannot be installed.
func peers() string {
	if dir := os.Getenv("PASVPORT_PEERS"); dir != "" {
		return filepath.Join(dir, "root")
	}
	return "/var/cache/pasvport-peers/root"
}

func unpacked(file string) func() (string, error) {
	return func() (string, error) {
		path := filepath.Join(peers(), file)
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("missing program: %s (scripts/peers unpacks it)", filepath.Base(file))
		}
		return path, nil
	}
}

// libraries lets unpacked programs find unpacked libraries.
func libraries() []string {
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	lib := filepath.Join(peers(), "usr/lib")
	old := filepath.Join(peers(), "lib", triplet) // some packages still use it
	return []string{"LD_LIBRARY_PATH=" + filepath.Join(lib, triplet) + ":" + lib + ":" + old}
}

// pythonWith finds a Python 3 that has a module. It tries Debian's own first, and
// only once: an interpreter takes a second to start on an emulated processor.
func pythonWith(module string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		for _, name := range []string{"/usr/bin/python3", "python3"} {
			if path, err := exec.LookPath(name); err == nil && exec.Command(path, "-c", "import "+module).Run() == nil {
				return path, nil
			}
		}
		return "", fmt.Errorf("missing: python3 with %s (scripts/peers installs it)", module)
	})
}
