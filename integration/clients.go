// SPDX-License-Identifier: Apache-2.0

package integration

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/ftp_client.py
var clientScript string

// ClientKind is an FTP client program.
type ClientKind struct {
	Name string
	// program finds the executable; the error for a missing one names it.
	program func() (string, error)
	// modes are the modes that it can be made to use.
	modes    map[Family][]Mode
	noUpload bool
	// command is the command for a request.
	command func(program string, r Request) Command
	// said matches the client's output when it used a mode; %s is the verb.
	said string
}

// The clients under test.
var (
	Ftplib = &ClientKind{Name: "ftplib", program: pythonWith("ftplib"), command: ftplib, said: `"> %s`,
		modes: map[Family][]Mode{IPv4: IPv4.Modes(), IPv6: IPv6.Modes()}}
	Curl = &ClientKind{Name: "curl", program: inPath("curl"), command: curl, said: `> %s`,
		modes: map[Family][]Mode{IPv4: IPv4.Modes(), IPv6: IPv6.Modes()}}
	Lftp = &ClientKind{Name: "lftp", program: inPath("lftp"), command: lftp, said: `---> %s`,
		modes: map[Family][]Mode{IPv4: {PORT, PASV, EPSV}, IPv6: IPv6.Modes()}}
	// ncftp supports IPv4 only.
	Ncftp = &ClientKind{Name: "ncftp", program: inPath("ncftpget"), command: ncftp, said: `%s`,
		modes: map[Family][]Mode{IPv4: {PORT, PASV}}}
	Tnftp = &ClientKind{Name: "tnftp", program: inPath("tnftp"), command: tnftp, said: `---> %s`,
		modes: map[Family][]Mode{IPv4: IPv4.Modes(), IPv6: IPv6.Modes()}}
	Wget = &ClientKind{Name: "wget", program: inPath("wget"), command: wget, said: `(--> %[1]s|==> %[1]s)`, noUpload: true,
		modes: map[Family][]Mode{IPv4: {PORT, PASV}, IPv6: IPv6.Modes()}}
)

// ClientKinds are all of them.
var ClientKinds = []*ClientKind{Curl, Lftp, Ncftp, Tnftp, Wget, Ftplib}

// Knows reports whether the client can use a mode.
func (k *ClientKind) Knows(f Family, m Mode) bool { return slices.Contains(k.modes[f], m) }

// Need skips the test if the client is missing.
func (k *ClientKind) Need(t testing.TB) {
	t.Helper()
	if _, err := k.program(); err != nil {
		t.Skip(err)
	}
}

// Transfer runs the client. It returns an error if the client succeeds in another
// mode than the requested one: some fall back on their own.
func (k *ClientKind) Transfer(h *Host, r Request) (string, error) {
	program, err := k.program()
	if err != nil {
		return "", err
	}
	out, err := h.Run(r.Timeout+5*time.Second, k.command(program, r))
	if err != nil {
		return out, err
	}
	said := regexp.MustCompile(fmt.Sprintf(k.said, r.Mode))
	if !said.MatchString(out) {
		return out, fmt.Errorf("%s did not use %s", k.Name, r.Mode)
	}
	return out, nil
}

// seconds formats a timeout as most programs expect it.
func seconds(d time.Duration) string { return fmt.Sprint(max(1, int(d.Seconds()))) }

func (r Request) url(i int) string { return "ftp://" + r.Dial.String() + "/" + r.Remote[i] }

func (r Request) family() Family {
	if r.Dial.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// Step is one transfer in a session of ftp_client.py.
type Step struct {
	Mode   Mode   `json:"mode"`
	Op     string `json:"op"` // get or put
	Remote string `json:"remote"`
	Local  string `json:"local"`
}

// Script is a job of ftp_client.py.
type Script struct {
	Host     string   `json:"host"`
	Port     uint16   `json:"port"`
	User     string   `json:"user"`
	Password string   `json:"password"`
	Timeout  float64  `json:"timeout"`
	Source   *string  `json:"source"`
	Sessions [][]Step `json:"sessions"`
}

// Command runs the script. Its exit status is 0 if all steps succeed.
func (s Script) Command(python string) Command {
	job, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers
	}
	return Command{Args: []string{python, "-I", "-c", clientScript + "\nsys.exit(not all(r['error'] is None for r in results))\n"},
		Stdin: string(job)}
}

func ftplib(python string, r Request) Command {
	s := Script{Host: r.Dial.Addr().String(), Port: r.Dial.Port(), User: r.User, Password: password,
		Timeout: r.Timeout.Seconds()}
	op := map[bool]string{false: "get", true: "put"}[r.Upload]
	var steps []Step
	for i := range r.Local {
		steps = append(steps, Step{Mode: r.Mode, Op: op, Remote: r.Remote[i], Local: r.Local[i]})
	}
	s.Sessions = [][]Step{steps}
	return s.Command(python)
}

// curl is made to use the address of a 227, which it ignores by default.
func curl(program string, r Request) Command {
	c := []string{program, "-v", "-sS", "-g", "--no-ftp-skip-pasv-ip", "--user", r.User + ":" + password,
		"--max-time", seconds(r.Timeout)}
	switch r.Mode {
	case PORT:
		c = append(c, "--ftp-port", "-", "--disable-eprt")
	case EPRT:
		c = append(c, "--ftp-port", "-")
	case PASV:
		c = append(c, "--disable-epsv")
	}
	for i := range r.Local {
		if r.Upload {
			c = append(c, "-T", r.Local[i], r.url(i))
		} else {
			c = append(c, "-o", r.Local[i], r.url(i))
		}
	}
	return Cmd(c...)
}

// lftp uses EPSV over IPv4 only if the server's FEAT lists it.
func lftp(program string, r Request) Command {
	timeout := seconds(r.Timeout)
	b := new(strings.Builder)
	fmt.Fprintf(b, "debug 5; set net:timeout %s; set net:max-retries 1; set net:reconnect-interval-base 1; ", timeout)
	fmt.Fprintf(b, "set ftp:fix-pasv-address no; set ftp:ssl-allow no; set ftp:use-feat %t; set ftp:use-mdtm no; ", r.Mode == EPSV)
	fmt.Fprintf(b, "set ftp:passive-mode %t; set ftp:prefer-epsv %t; set cmd:fail-exit yes; ", !r.Mode.Active(), r.Mode == EPSV)
	fmt.Fprintf(b, "open -u %s,%s ftp://%s; ", r.User, password, r.Dial)
	for i := range r.Local {
		if r.Upload {
			fmt.Fprintf(b, "put %s -o %s; ", r.Local[i], r.Remote[i])
		} else {
			fmt.Fprintf(b, "get %s -o %s; ", r.Remote[i], r.Local[i])
		}
	}
	return Cmd(program, "--norc", "-c", b.String()+"bye")
}

// ncftp has no option for the local name of a download, only for the directory.
func ncftp(program string, r Request) Command {
	if r.Upload {
		program = strings.TrimSuffix(program, "get") + "put"
	}
	passive := map[bool]string{false: "-F", true: "-E"}[r.Mode.Active()]
	c := []string{program, "-d", "stdout", "-V", passive, "-r", "1", "-t", seconds(r.Timeout), "-P", fmt.Sprint(r.Dial.Port()),
		"-u", r.User, "-p", password, r.Dial.Addr().String()}
	if r.Upload {
		c = append(c, filepath.Dir(r.Remote[0]))
		return Cmd(append(c, r.Local...)...)
	}
	c = append(c, filepath.Dir(r.Local[0]))
	return Cmd(append(c, r.Remote...)...)
}

// tnftp reads its commands from standard input; its exit status is always 0, so
// the files are the proof.
func tnftp(program string, r Request) Command {
	mode := map[bool]string{false: "-p", true: "-A"}[r.Mode.Active()]
	b := new(strings.Builder)
	fmt.Fprintf(b, "debug\n")
	if r.family() == IPv4 && (r.Mode == PORT || r.Mode == PASV) {
		fmt.Fprintf(b, "epsv4\n")
	}
	fmt.Fprintf(b, "open %s %d\nuser %s %s\nbinary\n", r.Dial.Addr(), r.Dial.Port(), r.User, password)
	for i := range r.Local {
		if r.Upload {
			fmt.Fprintf(b, "put %s %s\n", r.Local[i], r.Remote[i])
		} else {
			fmt.Fprintf(b, "get %s %s\n", r.Remote[i], r.Local[i])
		}
	}
	return Command{Args: []string{program, "-n", "-i", "-v", mode, "-q", seconds(r.Timeout)}, Stdin: b.String() + "quit\n"}
}

func wget(program string, r Request) Command {
	c := []string{program, "-d", "--tries=1", "--timeout=" + seconds(r.Timeout), "--user=" + r.User, "--password=" + password,
		"-O", r.Local[0], r.url(0)}
	if r.Mode.Active() {
		c = append(c, "--no-passive-ftp")
	}
	return Cmd(c...)
}
