package main

import (
	"strings"
	"testing"

	"github.com/janos-os/janos/click/tool"
)

func TestToolOf(t *testing.T) {
	for line, want := range map[string]string{
		"click x.click": "", "/usr/bin/click-flatten -e x": "click-flatten", "click-nothing x": "", "click --tool undead x": "undead", "click --tool": "", "click-flatten": "click-flatten", "": "",
	} {
		name, args := toolOf(strings.Fields(line))
		if name != want || name != "" && strings.Contains(line, " x") && (len(args) == 0 || args[len(args)-1] != "x") {
			t.Errorf("%q: tool %q, arguments %q", line, name, args)
		}
	}
	for _, n := range tool.Names() {
		if name, _ := toolOf([]string{n}); name != n {
			t.Errorf("%s is not a name of the program", n)
		}
	}
}
