// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"testing"
	"time"

	"github.com/pasvport/pasvport/cmd/pasvport/keepalive"
	"github.com/pasvport/pasvport/expect"
)

// TestIdleReports: the cause of the end of a silent session is reported, and kept
// for its end.
func TestIdleReports(t *testing.T) {
	for cause, words := range map[keepalive.Cause][]string{
		keepalive.CauseIdle:       {`msg="idle control connection reset"`, "idle=1m0s"},
		keepalive.CauseClientGone: {`msg="control connection reset, one end is gone"`, "gone=client"},
		keepalive.CauseServerGone: {`msg="control connection reset, one end is gone"`, "gone=server"},
	} {
		b := newBench(t, nil)
		i := &idle{services: b.services, registry: b.registry}
		s := newSession(entryOf(1))
		i.ended(s, cause, time.Minute)
		b.logs(words...)
		b.ending(b.k, s, expect.TCPStateClose)
		if b.logs(`msg="session ended"`, cause.String()); cause.String() == "" {
			t.Error("the cause has no name")
		}
		i.notSent(s, false, errors.New("odd"))
		b.logs("level=DEBUG", `msg="keep-alive not sent"`)
		i.notSent(s, true, errors.New("odd"))
		b.logs("level=WARN", `msg="reset not sent"`)
		i.notRefreshed(&s.Owner, errors.New("odd"))
		b.logs(`msg="cannot refresh a control connection's timeout"`, "session=1")
		if i.watch(t.Context()) != nil {
			t.Error("it does not end where there is nothing to do")
		}
	}
}
