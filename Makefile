# SPDX-License-Identifier: Apache-2.0
# Short names for the scripts; each is one line, and the scripts explain themselves (--help).

PREFIX  := /usr/local

.PHONY: build test check demo fuzz bench install clean

build:   ; go build -trimpath -o bin/pasvport ./cmd/pasvport
test:    ; scripts/test
check:   ; scripts/check
demo:    ; scripts/demo
fuzz:    ; scripts/fuzz
bench:   ; go test -run '^$$' -bench . -benchmem ./ftpalg ./nfq ./expect ./rules
install: build ; install -D -m 0755 bin/pasvport $(DESTDIR)$(PREFIX)/sbin/pasvport
clean:   ; rm -rf bin
