package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/channels/mem"
	"github.com/janos-os/janos/ee/ants"
	"github.com/janos-os/janos/errs"
)

const jailsFile = `node: n
address: 10.255.0.1
links:
  - name: eth0
jails:
  - name: ours
    mode: interpreter
    memory: 100000000
    cpu: 1h0m0s
    hang: 1m0s
    room: 3
    protocols: ["p.yaml"]
  - name: strangers
ants:
  jail: strangers
  protocols: ["p.yaml"]
`

func TestJailsOfANodeFile(t *testing.T) {
	s, err := Parse("n.yaml", []byte(jailsFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Jails) != 2 || s.Jails[0].Room != 3 || s.Jails[0].Hang != time.Minute || s.ANTS.Jail != "strangers" || s.jailOf("p.yaml") != "ours" {
		t.Errorf("%+v", s.Jails)
	}
	printed := s.Text()
	again, err := Parse("n.yaml", []byte(printed))
	if err != nil || again.Text() != printed || len(fixedKeys(s, again)) != 0 || !strings.Contains(printed, "interpreter") {
		t.Errorf("printed %s: %v", printed, err)
	}
	again.Jails[0].Room = 4
	if keys := fixedKeys(s, again); len(keys) != 1 || keys[0] != "jails" {
		t.Errorf("changed: %v", keys)
	}
	for _, c := range []struct{ from, to, want string }{
		{"name: strangers\n", "name: ours\n", "names must differ"},
		{"jail: strangers", "jail: nobody", "no jail nobody"},
		{"mode: interpreter", "mode: fast", "auto"},
		{`    protocols: ["p.yaml"]`, `    protocols: ["q.yaml"]`, "not among those of ants"},
		{"name: strangers\n", "name: strangers\n    protocols: [p.yaml]\n", "cannot be in jail ours and in jail strangers"},
		{"memory: 100000000", "memory: 5", "at least"},
		{"name: strangers\n", "name: a b\n", "letters"},
		{"ants:\n", "ants:\n  off: true\n", "which is off"},
	} {
		if _, err := Parse("n.yaml", []byte(strings.Replace(jailsFile, c.from, c.to, 1))); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "n.yaml:") {
			t.Errorf("%s: %v", c.to, err)
		}
	}
}

// TestNodesWithJails lets capsules go between two nodes, one of which has its own protocol and the other that of its neighbour in a jail. Then the first one's worker is
// killed: the protocol is there again.
func TestNodesWithJails(t *testing.T) {
	net := mem.NewNet()
	a, b := pairSpec(1), pairSpec(2)
	a.Jails = []Jail{{Name: "ours", Hang: time.Minute, Protocols: a.ANTS.Protocols}}
	b.Jails, b.ANTS.Jail, b.ANTS.Protocols = []Jail{{Name: "network", Hang: time.Minute}}, "network", nil
	started := make(chan struct{}, 10)
	var nodes [2]*Node
	for i, s := range []*Spec{a, b} {
		n, err := Start(s, Env{OpenLink: onNet(net), Events: func(e any) {
			if j, ok := e.(JailEvent); ok && j.Kind == "jail-started" {
				started <- struct{}{}
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		nodes[i] = n
	}
	if got := ping(t, nodes[0], nodes[1], 20, func(p *ants.Probe) { <-p.Done() }); got == 0 {
		t.Fatal("no capsule came back")
	}
	for i, want := range []string{"ours", "network"} {
		if s := nodes[i].ANTS().Stats().Protocols; len(s) != 1 || s[0].Jail != want {
			t.Errorf("node %d: %+v", i, s)
		}
		if j := nodes[i].Jails(); len(j) != 1 || j[0].Name != want || !j[0].Alive {
			t.Errorf("node %d: %+v", i, j)
		}
	}
	if err := unix.Kill(nodes[0].Jails()[0].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-started
	nodes[0].rejoins.Wait()
	if s := nodes[0].ANTS().Stats().Protocols; len(s) != 1 || s[0].State != "active" || s[0].Jail != "ours" || !s[0].Pinned {
		t.Errorf("after the death of its worker: %+v", s)
	}
	if j := nodes[0].Jails()[0]; j.Deaths != 1 || !strings.Contains(j.Last, "killed") {
		t.Errorf("%+v", j)
	}
	if got := ping(t, nodes[0], nodes[1], 20, func(p *ants.Probe) { <-p.Done() }); got == 0 {
		t.Error("no capsule came back afterwards")
	}
}

func TestNoJailsUnderAVirtualClock(t *testing.T) {
	s := pairSpec(1)
	s.Jails = []Jail{{Name: "a"}}
	if _, err := Start(s, Env{OpenLink: onNet(mem.NewNet()), Stepped: true}); !errors.Is(err, errs.NotSupported) {
		t.Errorf("%v", err)
	}
}
