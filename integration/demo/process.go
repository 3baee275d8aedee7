// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// command is exec.CommandContext for a child that must not outlive the demo: it
// is asked to end when ctx does, and dies with its parent thread. Its own process
// group keeps a ctrl-C at the terminal for the demo, which then ends it in order.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	return cmd
}

// A process is a child whose output is read line by line.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *journal[string]
	reader sync.WaitGroup
}

// start runs a command; stdout, if given, gets each line it prints. What it says
// on standard error is kept.
func start(ctx context.Context, stdout func(line string), args ...string) (*process, error) {
	p := &process{cmd: command(ctx, args...), stderr: newJournal[string]()}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errs, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.stdin = in
	if stdout == nil {
		stdout = func(string) {}
	}
	p.reader.Go(func() { readLines(out, stdout) })
	p.reader.Go(func() { readLines(errs, p.stderr.add) })
	return p, nil
}

// startPart runs this program again inside a namespace, as one of its parts. The
// notes it writes go to the journal.
func startPart(ctx context.Context, inside []string, notes *journal[note]) (*process, error) {
	return start(ctx, func(line string) {
		var n note
		if err := json.Unmarshal([]byte(line), &n); err == nil {
			notes.add(n)
		}
	}, inside...)
}

// wait waits for the end of the process.
func (p *process) wait() error {
	p.reader.Wait()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w%s", p.cmd.Args[len(p.cmd.Args)-1], err, p.lastWords())
	}
	return nil
}

// stop ends the process with SIGTERM and waits for it.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

// lastWords is the last line that the process wrote to standard error.
func (p *process) lastWords() string {
	all := p.stderr.since(0)
	if len(all) == 0 {
		return ""
	}
	return ": " + all[len(all)-1]
}

func readLines(r io.Reader, each func(string)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		each(lines.Text())
	}
}

// A journal is a growing list that one goroutine writes and another waits on.
type journal[T any] struct {
	mu      sync.Mutex
	entries []T
	grown   chan struct{} // closed and replaced when an entry is added
}

func newJournal[T any]() *journal[T] {
	return &journal[T]{grown: make(chan struct{})}
}

func (j *journal[T]) add(entry T) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
	close(j.grown)
	j.grown = make(chan struct{})
}

// mark is the place after the last entry, for since and await.
func (j *journal[T]) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries)
}

// since returns the entries from a mark on.
func (j *journal[T]) since(mark int) []T {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[mark:len(j.entries):len(j.entries)]
}

// await waits until the entries since mark satisfy enough, and says whether they
// did in time.
func (j *journal[T]) await(ctx context.Context, patience time.Duration, mark int, enough func([]T) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		j.mu.Lock()
		entries, grown := j.entries[mark:len(j.entries):len(j.entries)], j.grown
		j.mu.Unlock()
		if enough(entries) {
			return true
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return false
		}
	}
}
