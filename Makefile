# SPDX-License-Identifier: Apache-2.0
# Short names for the scripts; each is one line, and the scripts explain themselves (--help).

PREFIX  := /usr/local
# What `pasvport version` says; without git, what the Go tool knows.
RELEASE := $(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null)
COMMIT  := $(shell git describe --always --abbrev=40 --exclude '*' --dirty=' (modified)' 2>/dev/null)
LDFLAGS := -X main.release=$(RELEASE) -X 'main.commit=$(COMMIT)'

.PHONY: build test check demo fuzz bench package install clean

build:   ; CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)" -o bin/pasvport ./cmd/pasvport
test:    ; scripts/test
check:   ; scripts/check
demo:    ; scripts/demo
fuzz:    ; scripts/fuzz
bench:   ; scripts/bench operations --rounds 1
package: ; scripts/package
install: build ; install -D -m 0755 bin/pasvport $(DESTDIR)$(PREFIX)/sbin/pasvport
clean:   ; rm -rf bin
