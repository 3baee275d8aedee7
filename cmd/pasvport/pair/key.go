// SPDX-License-Identifier: Apache-2.0

package pair

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// shortestKey is the minimum length of a key in bytes. Anyone who can reach a
// daemon can try keys against its certificate, so a key that can be guessed will
// be.
const shortestKey = 32

// ReadKey reads the file of a key. Only its owner and its group may have access
// to it. White space at its end does not count.
func ReadKey(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for its writer
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return nil, fmt.Errorf("%w, want a file with a key, such as `openssl rand -base64 32` makes", failed.Err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("mode %v, want a file to which others have no access (mode 0600 or 0640)", info.Mode())
	}
	key, err := io.ReadAll(io.LimitReader(f, 1<<12))
	if err != nil {
		return nil, err
	}
	if key = bytes.TrimSpace(key); len(key) < shortestKey {
		return nil, fmt.Errorf("%d characters, want at least %d, such as those of `openssl rand -base64 32`", len(key), shortestKey)
	}
	return key, nil
}

// identity is the key as TLS uses it: both ends derive the same certificate from
// it, and so have its private key. The other end is authentic if it proves to
// have that private key; nothing else of the certificate counts.
type identity struct {
	certificate tls.Certificate
	public      ed25519.PublicKey
}

func newIdentity(key []byte) (*identity, error) {
	seed, err := hkdf.Key(sha256.New, key, nil, "pasvport pair: Ed25519 key", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	// No clock decides whether two firewalls may talk.
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(nil, &template, &template, public, private)
	if err != nil {
		return nil, err
	}
	return &identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, public}, nil
}

// errKey means that the other end has another key.
var errKey = errors.New("the other end has another key")

// config is the TLS configuration of either end.
func (id *identity) config() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{id.certificate},
		ClientAuth:   tls.RequireAnyClientCert,
		// Names and dates mean nothing here; VerifyConnection does the check.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) != 1 {
				return errKey
			}
			if public, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey); !ok || !public.Equal(id.public) {
				return errKey
			}
			return nil
		},
	}
}
