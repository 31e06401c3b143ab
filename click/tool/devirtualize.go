package tool

import (
	"slices"
	"strings"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/errs"
)

// special has the pieces of configurations for which there is one element that does the same with fewer calls.
const special = `
elementclass Input { input -> Paint($color) -> Strip(14) -> CheckIPHeader -> output; }
elementclass Input_Replacement { input -> IPInputCombo($color) -> output; }
elementclass CheckedInput { input -> Paint($color) -> Strip(14) -> CheckIPHeader($addresses) -> output; }
elementclass CheckedInput_Replacement { input -> IPInputCombo($color, $addresses) -> output; }
elementclass Output {
  input -> DropBroadcasts -> paint :: PaintTee($color) -> options :: IPGWOptions($me) -> FixIPSrc($me)
    -> ttl :: DecIPTTL -> fragments :: IPFragmenter($mtu) -> output;
  paint[1] -> [1]output; options[1] -> [2]output; ttl[1] -> [3]output; fragments[1] -> [4]output;
}
elementclass Output_Replacement {
  input -> combo :: IPOutputCombo($color, $me, $mtu) -> output;
  combo[1] -> [1]output; combo[2] -> [2]output; combo[3] -> [3]output;
  combo[4] -> fragments :: IPFragmenter($mtu) -> output; fragments[1] -> [4]output;
}
`

// SpecializeOptions are for Specialize; the zero value is useful.
type SpecializeOptions struct {
	Not     []string // classes that stay
	Reverse bool     // back to ordinary elements
}

// Specialize makes one element of several where there is a class that does the same work with fewer calls: IPInputCombo and IPOutputCombo, and a FastClassifier
// for classifiers. Handlers of elements that become part of others are gone.
func Specialize(g *lang.Graph, o SpecializeOptions) error {
	patterns, err := ReadPatterns("special", special, o.Reverse)
	if err != nil {
		return err
	}
	for i := range patterns {
		patterns[i].fits = func(vars map[string]string) bool {
			a, ok := vars["$addresses"]
			return !ok || isAddresses(g.Expand(a))
		}
	}
	patterns = slices.DeleteFunc(patterns, func(p Pattern) bool {
		return slices.ContainsFunc(p.from.g.Elements, func(n lang.Node) bool { return slices.Contains(o.Not, n.Class) })
	})
	if o.Reverse {
		if err := SlowClassify(g); err != nil {
			return err
		}
	}
	if _, err := Xform(g, patterns); err != nil || o.Reverse {
		return err
	}
	fastClassify(g, FastOptions{}, o.Not)
	return nil
}

// isAddresses reports whether an argument of CheckIPHeader is one that IPInputCombo has too.
func isAddresses(arg string) bool {
	word, _ := lang.NextWord(lang.Unquote(arg))
	switch word {
	case "INTERFACES", "BADSRC", "GOODDST":
		return true
	}
	return strings.Trim(word, "0123456789./") == "" // a list without keyword
}

var devirtualizeCommand = command{
	name: "click-devirtualize", about: "[OPTION]... [VAR=VALUE]... [FILE]",
	short: "Replaces groups of elements by single ones that do the same with fewer calls.",
	options: options(input, []option{{'l', "linuxmodule", "accepted; nothing has to be compiled"}, {'k', "kernel", "accepted"}, {'u', "userlevel", "accepted"},
		{'s', "source", "print the patterns and replacements instead"}, {'c', "config", "the configuration only, without what else the archive has"},
		{'r', "reverse", "turn the elements into those that they replaced"}, {'n', "no-devirtualize=", "leave elements of CLASS alone"},
		{'i', "instructions=", "read lines 'noclass CLASS...' from FILE"}}, common),
	run: func(c *call) error {
		o := SpecializeOptions{Not: c.set["no-devirtualize"], Reverse: c.has("reverse")}
		for _, f := range c.set["instructions"] {
			name, text, err := c.read(f)
			if err != nil {
				return err
			}
			for n, line := range strings.Split(text, "\n") {
				words := strings.Fields(line)
				switch {
				case len(words) == 0 || strings.HasPrefix(words[0], "#"):
				case words[0] == "noclass":
					o.Not = append(o.Not, words[1:]...)
				default:
					return errs.New(errs.Invalid, "%s:%d: unknown instruction '%s', expected 'noclass CLASS...'", name, n+1, words[0])
				}
			}
		}
		if c.has("source") {
			return c.write(strings.TrimPrefix(special, "\n"))
		}
		g, err := c.graph()
		if err != nil {
			return err
		}
		if err := Specialize(g, o); err != nil {
			return err
		}
		return c.writeGraph(g)
	},
}
