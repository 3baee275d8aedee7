// SPDX-License-Identifier: Apache-2.0

//go:build bench

package nfq

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"
)

var (
	queueRounds      = flag.Int("queue.rounds", 5, "rounds of each consumer")
	queueTime        = flag.Duration("queue.time", time.Second, "time of a round")
	queueConnections = flag.Int("queue.connections", 16, "connections that speak at once")
	queueC           = flag.String("queue.c", "", "the C program, scripts/bench.d/accept.c; without it it is left out")
	queueJSON        = flag.String("queue.json", "", "file for all figures")
)

// TestMain is a consumer in a process of its own if the environment asks for one,
// so that all are measured alike.
func TestMain(m *testing.M) {
	if name := os.Getenv("NFQ_CONSUMER"); name != "" {
		if err := consumers[name](); err != nil {
			fmt.Fprintln(os.Stderr, name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// consumers accept every packet of the test's queue until they are told to stop.
var consumers = map[string]func() error{"nfq": consumeOurs, "go-nfqueue": consumeGoNfqueue}

func consumeOurs() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	q, err := Open(Config{Num: testQueue})
	if err != nil {
		return err
	}
	defer q.Close()
	err = q.Run(ctx, funcHandler{packet: func(p *Packet) { _ = q.AcceptLater(p.ID) }})
	s := q.Stats()
	fmt.Fprintf(os.Stderr, "nfq: %+v\n", s)
	return err
}

func consumeGoNfqueue() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	q, err := nfqueue.Open(&nfqueue.Config{
		NfQueue: testQueue, MaxPacketLen: 0xffff, MaxQueueLen: 4096, Copymode: nfqueue.NfQnlCopyPacket,
	})
	if err != nil {
		return err
	}
	defer q.Close()
	err = q.RegisterWithErrorFunc(ctx, func(a nfqueue.Attribute) int {
		_ = q.SetVerdict(*a.PacketID, nfqueue.NfAccept)
		return 0
	}, func(err error) int { return 0 })
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// TestQueueRate measures the packets that pass a queue in a second: small
// requests and answers on some connections over lo, both queued.
func TestQueueRate(t *testing.T) {
	names := []string{"none", "c", "go-nfqueue", "nfq"}
	rates := map[string][]float64{}
	for range *queueRounds {
		for _, name := range names {
			if name == "c" && *queueC == "" {
				continue
			}
			t.Run(name, func(t *testing.T) { rates[name] = append(rates[name], queueRate(t, name)) })
		}
	}
	spread := func(v []float64) string {
		if len(v) == 0 {
			return "–"
		}
		v = slices.Sorted(slices.Values(v))
		return fmt.Sprintf("%.2f [%.2f–%.2f]", v[len(v)/2], v[0], v[len(v)-1])
	}
	ratio := func(a, b []float64) (list []float64) {
		for i := range min(len(a), len(b)) {
			list = append(list, a[i]/b[i])
		}
		return list
	}
	thousands := func(v []float64) (list []float64) {
		for _, x := range v {
			list = append(list, x/1000)
		}
		return list
	}
	fmt.Printf("| %d connections | thousand packets/s | ratio to C |\n|---|---:|---:|\n", *queueConnections)
	for _, name := range names {
		fmt.Printf("| %s | %s | %s |\n", name, spread(thousands(rates[name])), spread(ratio(rates[name], rates["c"])))
	}
	if *queueJSON != "" {
		b, err := json.Marshal(rates)
		if err == nil {
			err = os.WriteFile(*queueJSON, b, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func queueRate(t *testing.T, name string) float64 {
	newNamespace(t)
	if name != "none" {
		queueRules(t)
		startConsumer(t, name)
	}
	l := listen(t, "127.0.0.1")
	var packets atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range *queueConnections {
		client, server := connect(t, l)
		wg.Go(func() { echo(server) })
		wg.Go(func() { packets.Add(speak(t, client, start)) })
	}
	wg.Wait()
	return float64(packets.Load()) / time.Since(start).Seconds()
}

func echo(c net.Conn) {
	buf := make([]byte, 100)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// speak sends lines and receives their echoes, and returns how many packets that
// took.
func speak(t *testing.T, c net.Conn, start time.Time) (packets int64) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(*queueTime + patience))
	line, buf := []byte("NOOP\r\n"), make([]byte, 100)
	for time.Since(start) < *queueTime {
		if _, err := c.Write(line); err != nil {
			t.Error(err)
			return packets
		}
		if _, err := c.Read(buf); err != nil {
			t.Error(err)
			return packets
		}
		packets += 2
	}
	return packets
}

// startConsumer starts a consumer in the thread's namespace and waits until it
// has the queue.
func startConsumer(t *testing.T, name string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NFQ_CONSUMER="+name)
	if name == "c" {
		cmd = exec.Command(*queueC, strconv.Itoa(testQueue))
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	eventually(t, "queue bound", func() bool {
		all, err := ReadQueueStats()
		return err == nil && len(all) == 1
	})
}
