package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProgramOfDomain runs an unmodified program as what a domain does: it sees the domain's files, its lines are logged, and its end is told and ends the domain.
func TestProgramOfDomain(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in.txt"), []byte("a b a"), 0o644); err != nil {
		t.Fatal(err)
	}
	const head = "node: p\nants: {off: true}\nrouting: {off: true}\ndomains:\n  - name: d\n    files: {dir: DIR, max-bytes: 1000}\n    limits: {memory: 33554432}\n    program: "
	for text, want := range map[string]string{
		"{}": "code", "{code: x, env: [A]}": "NAME=VALUE", "{code: x, time: -1s}": "time", "{code: x, args: ['a\\0']}": "", "{code: x, fuel: 0}": "whole number",
	} {
		if _, err := Parse("g.yaml", []byte(strings.Replace(head, "DIR", dir, 1)+text+"\n")); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
	s, err := Parse("g.yaml", []byte(strings.Replace(head, "DIR", dir, 1)+"{code: ../vm/wasi/testdata/words.wasm, args: [words, in.txt], env: [GREETING=hello]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Parse("g.yaml", []byte(s.Text())); err != nil || again.Domains[0].Run == nil || again.Domains[0].Run.Env[0] != "GREETING=hello" {
		t.Errorf("printed and read: %v\n%s", err, s.Text())
	}
	n, err := Start(s, Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	ended(t, n, `"exit":0`)
	if b, err := os.ReadFile(filepath.Join(dir, "in.txt.count")); err != nil || string(b) != "3\n" {
		t.Errorf("it has written %q, %v", b, err)
	}
	for _, d := range n.OS().Root().Children() {
		<-d.Done()
	}
	if _, err := Start(s, Env{Stepped: true}); err == nil || !strings.Contains(err.Error(), "real time") {
		t.Errorf("on a stepped node: %v", err)
	}
}
