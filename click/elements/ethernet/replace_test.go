package ethernet_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
)

// TestReplacement: a new graph goes on with the table, the packets that wait, the pause between questions and the counts.
func TestReplacement(t *testing.T) {
	for name, config := range map[string]string{
		"own":    "in :: ScriptIn -> [0] q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1, CAPACITY %d) -> o :: ScriptOut; rep :: ScriptIn -> [1] q;",
		"shared": "t :: ARPTable(CAPACITY %d); in :: ScriptIn -> [0] q :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1, TABLE t) -> o :: ScriptOut; rep :: ScriptIn -> [1] q;",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := elementtest.New(t, fmt.Sprintf(config, 8), elementtest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			do := func(line, want string) {
				t.Helper()
				if got := strings.TrimSpace(s.Do(line)); got != want {
					t.Errorf("%s: got\n%s\nwant\n%s", line, got, want)
				}
			}
			do("write q.insert 10.0.0.2 2:0:0:0:0:2", "")
			do("send in ip 1.0.0.1 10.0.0.3 udp 1 1 @dst 10.0.0.3; ip 1.0.0.1 10.0.0.3 udp 2 2 @dst 10.0.0.3; ip 1.0.0.1 10.0.0.3 udp 3 3 @dst 10.0.0.3; ip 1.0.0.1 1.0.0.1 udp 3 3",
				"o 0.000000 eth 2::1 ff:ff:ff:ff:ff:ff 0806 arp request 2::1 10.0.0.1 0::0 10.0.0.3")
			spec, err := click.Parse("config", fmt.Sprintf(config, 2), click.ParseOptions{})
			if err != nil {
				t.Fatal(err)
			}
			n, err := s.Router.Replace(spec)
			if err != nil {
				t.Fatal(err)
			}
			s.Router = n
			do("read q.length", "2")
			do("read q.drops", "2")
			do("read q.queries", "1")
			do("send in ip 1.0.0.1 10.0.0.3 udp 4 4 @dst 10.0.0.3; ip 1.0.0.1 10.0.0.2 udp 5 5 @dst 10.0.0.2", "o 0.000000 eth 2::1 2::2 0800 ip 1.0.0.1 10.0.0.2 ttl 64 udp 5 5 @dst 10.0.0.2")
			do("send rep eth 2::3 2::1 0806 arp reply 2::3 10.0.0.3 2::1 10.0.0.1", "o 0.000000 eth 2::1 2::3 0800 ip 1.0.0.1 10.0.0.3 ttl 64 udp 4 4 @dst 10.0.0.3")
			s.Run(7 * time.Minute)
			do("read q.count", "0")
			if left := s.Close(); left != 0 {
				t.Errorf("%d frames are still held", left)
			}
		})
	}
}

// TestSwitchReplacement: a new graph knows the stations of the ports that it still has.
func TestSwitchReplacement(t *testing.T) {
	s, err := elementtest.New(t, "a :: ScriptIn -> [0] sw :: EtherSwitch => o :: ScriptOut, p :: ScriptOut; b :: ScriptIn -> [1] sw;", elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Do("send a eth 2::1 2::2 0800")
	s.Do("send b eth 2::2 2::1 0800")
	spec, err := click.Parse("config", "a :: ScriptIn -> [0] sw :: EtherSwitch -> o :: ScriptOut;", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Router.Replace(spec)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := n.Read("sw.table", ""); err != nil || got != "02-00-00-00-00-01 0\n" {
		t.Errorf("table %q, %v", got, err)
	}
	n.Close()
}
