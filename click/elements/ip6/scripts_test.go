package ip6_test

import (
	"testing"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
)

func TestScripts(t *testing.T) { elementtest.Run(t, "testdata/*.txtar", elementtest.Options{}) }

func TestElementsDoNotAllocate(t *testing.T) {
	const source = `InfiniteSource(LENGTH 100, BURST 32) -> UDPIP6Encap(2001:db8::1, 1, 2001:db8::2, 2) -> CheckIP6Header -> `
	for name, config := range map[string]string{
		"path":   source + `GetIP6Address(24) -> LookupIP6Route(2001:db8::/32 ::1 0, ::/0 0) -> DecIP6HLIM -> SetIP6DSCP(5) -> IP6Mirror -> IP6Encap(ip6, ::1, ::2) -> Discard;`,
		"errors": source + `ICMP6Error(2001:db8::9, timeexceeded) -> Discard;`,
		"known":  source + `nd :: IP6NDSolicitor(2001:db8::1, 2:0:0:0:0:1) -> Discard; nd[1] -> IP6NDAdvertiser(2001:db8::/64 2:0:0:0:0:2) -> [1] nd;`,
	} {
		t.Run(name, func(t *testing.T) {
			if n := elementtest.Allocs(t, config, elementtest.Options{}); n != 0 {
				t.Errorf("a turn allocates %v times", n)
			}
		})
	}
}

// TestRoutesReplacement: routes that handlers added stay where the new configuration has none for their prefixes.
func TestRoutesReplacement(t *testing.T) {
	s, err := elementtest.New(t, "Idle -> rt :: LookupIP6Route(2001:db8::/32 0) -> Discard; rt[1] -> Discard;", elementtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Do("write rt.add 2001:db8:1::/48 1")
	s.Do("write rt.add ::/0 ::1 0")
	spec, err := click.Parse("config", "Idle -> rt :: LookupIP6Route(2001:db8::/32 0, ::/0 ::2 0) -> Discard;", click.ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Router.Replace(spec)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := n.Read("rt.table", ""); err != nil || v != "::/0 ::2 0\n2001:db8::/32 - 0\n" { // the other one's output is no more
		t.Errorf("table\n%s%v", v, err)
	}
	n.Close()
}
