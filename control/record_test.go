package control

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/janos-os/janos/errs"
)

// TestRecordings: evaluations that were asked for are recorded at a running node and fetched from it.
func TestRecordings(t *testing.T) {
	n := start(t, nil)
	_, c := serve(t, n)
	code, err := os.ReadFile("../examples/capsules/ping/ping.wasm")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(99)
	send := func(count int) {
		t.Helper()
		got := 0
		port++ // the node notices in its own time that who listened has gone
		err := c.ReceiveFor(t.Context(), port, 20*time.Second, func() error {
			_, err := c.Send(t.Context(), SendRequest{Protocol: "ping", Class: "ping", Dst: 0x0aff0001, SrcPort: 1, DstPort: port, Payload: make([]byte, 8), Count: count})
			return err
		}, func(Delivery) error {
			if got++; got == count {
				return io.EOF
			}
			return nil
		})
		if !errors.Is(err, io.EOF) {
			t.Fatalf("%d deliveries: %v", got, err)
		}
	}
	send(1) // the code is in use from now on
	if rs, err := c.Recordings(t.Context()); err != nil || len(rs.List) != 0 || rs.Wanted != 0 {
		t.Fatalf("%+v, %v", rs, err)
	}
	if err := c.Record(t.Context(), sha256.Sum256(code), 2); err != nil {
		t.Fatal(err)
	}
	send(3)
	rs, err := c.Recordings(t.Context())
	if err != nil || len(rs.List) != 2 || rs.Wanted != 0 {
		t.Fatalf("%+v, %v", rs, err)
	}
	if r := rs.List[1]; r.Class != "ping" || r.Verdict != "deliver" || len(r.Window) != 8 || r.In.Node != 0x0aff0001 || r.Used == 0 {
		t.Errorf("%+v", r)
	}
	if err := c.Record(t.Context(), [32]byte{1}, 1); errs.KindOf(err) != errs.NotFound {
		t.Errorf("code that is not there: %v", err)
	}
	if err := c.Record(t.Context(), sha256.Sum256(code), 1000); errs.KindOf(err) != errs.Invalid {
		t.Errorf("too many: %v", err)
	}
}
