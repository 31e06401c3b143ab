package tool_test

import (
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/janos-os/janos/click"
	_ "github.com/janos-os/janos/click/elements"
	"github.com/janos-os/janos/click/elementtest"
	"github.com/janos-os/janos/click/internal/script"
	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/click/tool"
)

// passes change a graph in ways that nobody can see from outside.
var passes = map[string]func(g *lang.Graph) error{
	"flatten":        func(*lang.Graph) error { return nil },
	"expand":         func(g *lang.Graph) error { tool.ExpandVars(g); return nil },
	"align":          func(g *lang.Graph) error { _, err := tool.Align(g, tool.AlignOptions{}); return err },
	"undead":         func(g *lang.Graph) error { return tool.Undead(g, tool.UndeadOptions{}) },
	"fastclassifier": func(g *lang.Graph) error { tool.FastClassify(g, tool.FastOptions{}); return nil },
	"devirtualize":   func(g *lang.Graph) error { return tool.Specialize(g, tool.SpecializeOptions{}) },
	"back": func(g *lang.Graph) error {
		if err := tool.Specialize(g, tool.SpecializeOptions{}); err != nil {
			return err
		}
		return tool.Specialize(g, tool.SpecializeOptions{Reverse: true})
	},
}

// TestPassesChangeNothing runs the configurations of all golden scripts, as they are and changed by each pass, with the scripts' packets and with random
// ones.
func TestPassesChangeNothing(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../elements/testdata/*.txtar", "../elements/*/testdata/*.txtar"} {
		f, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f...)
	}
	compared := map[string]int{}
	for _, file := range files {
		switch filepath.Base(filepath.Dir(filepath.Dir(file))) {
		case "control", "device", "hostip", "socket", "wasm", "link": // need more than a node, or are about names
			continue
		}
		a, err := script.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		config := a.Text("config")
		g, err := click.Parse("config", config, click.ParseOptions{})
		if err != nil {
			continue // a script about errors
		}
		var ins []string
		for i := range g.Elements {
			if g.Elements[i].Class == "ScriptIn" {
				ins = append(ins, g.Elements[i].Name)
			}
		}
		commands := packets(a.Text("script"), ins)
		want, ok := run(t, config, commands)
		if !ok {
			continue
		}
		for name, pass := range passes {
			g, err := lang.ParseGraph("config", config, lang.Options{IsClass: tool.Known, KeepVars: true, KeepOrder: true})
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			before := g.String()
			if err := pass(g); err != nil {
				t.Errorf("%s: %s: %v", file, name, err)
				continue
			}
			if g.String() != before {
				compared[name]++
			} else if name != "flatten" {
				continue // that one runs the graph as it was
			}
			got, ok := run(t, g.Marked(), commands)
			if !ok {
				t.Errorf("%s: what %s makes of it does not run:\n%s\n%s", file, name, got, g)
			} else if got != want {
				t.Errorf("%s: %s changes what comes out:\n%s\n%s", file, name, difference(want, got), g)
			}
		}
	}
	t.Logf("configurations that were changed: %v", compared)
	for _, name := range []string{"align", "undead", "fastclassifier", "devirtualize"} {
		if compared[name] < 3 {
			t.Errorf("%s changed only %d configurations", name, compared[name])
		}
	}
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	command := ""
	for i := range w {
		if strings.HasPrefix(w[i], "> ") {
			command = w[i]
		}
		if i >= len(g) {
			return command + "\nwant: " + w[i] + "\ngot nothing more"
		}
		if w[i] != g[i] {
			return command + "\nwant: " + w[i] + "\ngot:  " + g[i]
		}
	}
	return "got more"
}

// packets makes the commands of a script that send packets and let time pass, one packet each, and adds random packets.
func packets(text string, ins []string) string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(5, 6))
	var seen []string
	for _, line := range strings.Split(text, "\n") {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		switch {
		case words[0] == "run":
			b.WriteString(line + "\n")
		case words[0] == "send" && len(words) == 3:
			for _, p := range strings.Split(words[2], ";") {
				b.WriteString("send " + words[1] + " " + p + "\n")
				seen = append(seen, p)
			}
		}
	}
	for _, in := range ins {
		for range 6 {
			data := make([]byte, 1+r.IntN(80))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			b.WriteString("send " + in + " hex " + hex.EncodeToString(data) + "\n")
			if len(seen) > 0 {
				b.WriteString("send " + in + " " + seen[r.IntN(len(seen))] + "\n")
			}
		}
	}
	return b.String()
}

var label = regexp.MustCompile(`(?m)^error: no ScriptIn.*\n|^[\w/@]+: `)

func run(t *testing.T, config, commands string) (string, bool) {
	t.Helper()
	s, err := elementtest.New(t, config, elementtest.Options{})
	if err != nil {
		return err.Error(), false
	}
	// Elements may have other names afterwards, and sources that lead nowhere are gone.
	out := label.ReplaceAllString(s.Transcript(commands), "")
	if n := s.Close(); n != 0 {
		t.Errorf("%d frames are held by\n%s", n, config)
	}
	return out, true
}
