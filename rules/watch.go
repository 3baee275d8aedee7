// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The timing of Watch. It handles the first change after a quiet time at once;
// changes that keep coming wait for a growing pause.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 80 * time.Millisecond
	quietTime  = 20 * time.Millisecond // without a change after a pause, so that the next one is short again
	retryAfter = time.Second           // after a failure
)

// Watch heals (see Heal) whenever another process has changed the ruleset, until
// ctx ends; then it returns nil. The kernel reports each transaction but our own.
// Watch calls report for each healing, for each error, and when configured chains
// disappear or come back; it retries after errors.
func (f *Firewall) Watch(ctx context.Context, report func(Healing, error)) error {
	w, err := watchOthers(f.cfg.NetNS, f.conn)
	if err != nil {
		return err
	}
	defer w.close()
	stop := context.AfterFunc(ctx, func() { _ = w.nl.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	f.setReport(report)
	defer f.setReport(nil)
	pause := firstPause
	noChain := -1
	for ctx.Err() == nil {
		h, err := f.Heal()
		if err != nil || len(h.Missing) > 0 || len(h.NoChain) != max(noChain, 0) {
			report(h, err)
		}
		noChain = len(h.NoChain)
		sleep(ctx, pause)
		waiting := time.Now()
		if err := w.wait(ctx, err != nil); err != nil {
			return err
		}
		pause = min(2*pause, lastPause)
		if time.Since(waiting) > quietTime {
			pause = firstPause
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// setReport makes healings outside Watch be reported, too: opening a pinhole may
// find our table missing before the event was read.
func (f *Firewall) setReport(report func(Healing, error)) {
	f.mu.Lock()
	f.report = report
	f.mu.Unlock()
}

// watchOthers opens a socket that receives the ends of transactions, except those
// of our own socket.
func watchOthers(netns int, own *conn) (*conn, error) {
	w, err := dial(netns)
	if err != nil {
		return nil, err
	}
	port, err := own.port()
	if err == nil {
		err = w.filterGenerations(port)
	}
	if err == nil {
		err = w.nl.JoinGroup(unix.NFNLGRP_NFTABLES)
	}
	if err != nil {
		w.close()
		return nil, &OpError{Op: "watch", Object: "ruleset", Err: err}
	}
	return w, nil
}

// port is the netlink port of c, by which the kernel identifies the author of a
// change.
func (c *conn) port() (port uint32, err error) {
	cerr := c.raw.Control(func(fd uintptr) {
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(int(fd)); err != nil {
			return
		}
		if nl, ok := sa.(*unix.SockaddrNetlink); ok {
			port = nl.Pid
		}
	})
	return port, errors.Join(cerr, err)
}

// filterGenerations passes only NFT_MSG_NEWGEN, which ends each transaction and
// comes in a datagram of its own (nf_tables_gen_notify), and not those of a
// socket's own transactions. Without it Watch would read each loaded ruleset of
// thousands of rules again.
//
//	ldh [4]  ; nlmsg_type
//	jne #NFT_MSG_NEWGEN, drop
//	ld  [12] ; nlmsg_pid
//	jeq #port, drop
//	ret #-1
//	drop: ret #0
func (c *conn) filterGenerations(port uint32) error {
	network16 := func(v uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v)))
	}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: network16(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN), Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, port)), Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	var err error
	cerr := c.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	})
	return errors.Join(cerr, err)
}

// wait waits for a change, or for the time to retry, and reads all pending
// events. Events lost to a full buffer (ENOBUFS) are changes, too.
func (c *conn) wait(ctx context.Context, failed bool) error {
	var until time.Time
	if failed {
		until = time.Now().Add(retryAfter)
	}
	if err := c.nl.SetReadDeadline(until); err != nil {
		return err
	}
	if ctx.Err() != nil { // it may have ended before the deadline was set
		return nil
	}
	got := false
	var errno error
	err := c.raw.Read(func(fd uintptr) bool {
		for errno == nil || errno == unix.ENOBUFS || errno == unix.EINTR {
			_, errno = unix.Read(int(fd), c.in)
			got = got || errno == nil || errno == unix.ENOBUFS
		}
		if errno == unix.EAGAIN {
			errno = nil
			return got
		}
		return true
	})
	if ctx.Err() != nil || failed && errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err = errors.Join(err, errno); err != nil {
		return &OpError{Op: "watch", Object: "ruleset", Err: err}
	}
	return nil
}
