package bench

import (
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/janos-os/janos/errs"
)

// peer is a graph that a click program runs, as a process of its own: the same elements as ours, but for the source, which sends the same packet
// again and again, shared until somebody writes to it. That is the peer's advantage.
type peer struct {
	name, config string // $N is how many packets it sends, $B the burst
	path         string
	burst        int
	n            int // packets a round, fixed by the first
}

// peerQueue is the longest queue of a graph that a peer runs.
const peerQueue = 1024

// peerFrame is the frame that a peer sends: one of those of ours.
func peerFrame(e *Env) string {
	return fmt.Sprintf(`\<%x>`, toOneNet(e.rand(0))[0])
}

// run runs the graph with n packets and returns its processor time, user and system.
func (p *peer) run(e *Env, n int) (time.Duration, error) {
	config := strings.NewReplacer("$N", fmt.Sprint(n), "$B", fmt.Sprint(p.burst), "$FRAME", peerFrame(e)).Replace(p.config)
	cmd := exec.CommandContext(e.Context, p.path, "-e", config, "-h", "c.count")
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return 0, errs.New(errs.Invalid, "%s: %w: %s", p.path, err, strings.TrimSpace(complaint.String()))
	}
	// What is in a queue when the source stops the program stays there.
	if got, err := strconv.Atoi(strings.TrimSpace(out.String())); err != nil || got > n || got < n-peerQueue {
		return 0, errs.New(errs.Internal, "%s: of %d packets %q reached the sink", p.path, n, out.String())
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// measure returns processor time per packet; starting and configuring, which a run with one packet has too, is subtracted.
func (p *peer) measure(e *Env) (float64, error) {
	base, err := p.run(e, 1)
	if err != nil {
		return 0, err
	}
	for n := 1 << 16; p.n == 0; n *= 4 {
		cost, err := p.run(e, n)
		if err != nil {
			return 0, err
		}
		// Ten times the time of our rows: the kernel may count processes in hundredths of a second.
		if want := 10 * e.Time; cost-base >= want/8 || n >= 1<<28 {
			p.n = int(min(float64(n)*float64(want)/float64(max(cost-base, time.Millisecond)), 1<<28)) + 1
		}
	}
	cost, err := p.run(e, p.n)
	if err != nil {
		return 0, err
	}
	return float64(max(cost-base, 0)) / float64(p.n), nil
}
