package info

import (
	"strings"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "PortInfo", Ports: "0/0", Processing: "a", New: func() click.Element { return &PortInfo{} },
		Doc: click.Doc{
			Group: "information", Title: "gives TCP and UDP ports names",
			Text: "Without /tcp or /udp a name holds for both. Further words are other names for the same port, and the rest after # is a comment, so that lines of /etc/services may be used as they are. " +
				"Names hold in the compound of the element and in those inside of it. Well-known services have names without a definition.",
			Args:    []string{"<NAME PORT[/PROTOCOL] [NAME...]>...: The port of a name."},
			Example: "PortInfo(ctl 7000/udp, web 8080); Idle -> UDPIPEncap(10.0.0.1, ctl, 10.0.0.2, ctl) -> Discard;", See: []string{"AddressInfo"},
		},
	})
}

// PortInfo names ports.
type PortInfo struct{ info }

// Configure implements click.Element.
func (*PortInfo) Configure(a *click.Args) {
	for _, arg := range a.List() {
		text, _, _ := strings.Cut(arg, "#")
		w := lang.SplitWords(text)
		if len(w) == 0 {
			continue
		}
		if len(w) < 2 {
			a.Errorf("'%s': expected 'NAME PORT[/PROTOCOL]'", arg)
			continue
		}
		num, proto, _ := strings.Cut(w[1], "/")
		_, err := click.ParsePort(num)
		kinds := map[string][]click.NameKind{"": {click.NameTCP, click.NameUDP}, "tcp": {click.NameTCP}, "udp": {click.NameUDP}}[strings.ToLower(proto)]
		if err != nil || kinds == nil {
			a.Errorf("'%s': expected PORT, PORT/tcp or PORT/udp", w[1])
			continue
		}
		for i, name := range w {
			if i == 1 {
				continue
			}
			for _, k := range kinds {
				a.Define(k, lang.Unquote(name), num)
			}
		}
	}
}
