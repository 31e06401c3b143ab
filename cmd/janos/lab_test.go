package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// envMain in the environment makes the test program this command; its children inherit it.
const envMain = "JANOS_TEST_IS_JANOS"

func TestMain(m *testing.M) {
	if os.Getenv(envChange) != "" {
		os.Exit(changeMain(os.Args[1:]))
	}
	if os.Getenv(envMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// janos runs a command line in dir, as a user would, and checks its exit code.
func janos(t *testing.T, dir string, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), envMain+"=1")
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("janos %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, &out, &msg)
	}
	return out.String(), msg.String()
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}

func TestLabReportsAllErrorsOfATopology(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "bad.yaml", `name: bad
nodes:
  - {name: a, kind: router, addr: 10.0.0.1}
  - {name: b, kind: router}
  - {name: a, kind: host}
links:
  - {ends: [a, c]}
  - {ends: [a, b], prefix: 10.0.0.0/30}
  - {ends: [a, b], delay: fast}
`)
	_, got := janos(t, dir, 18, "lab", "validate", "bad.yaml")
	want := `bad.yaml:5:12: a second node named "a", the first is in line 3; rename one
bad.yaml:7:16: link to unknown node "c"; add it under nodes, or use one of a, b
bad.yaml:8:28: 10.0.0.0/30 of link a-b overlaps 10.0.0.1/32 of node a; choose another
bad.yaml:9:27: "fast" is not a time span; write a number with its unit, for example 5ms or 1.5s
janos: bad.yaml is not valid
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, verb := range []string{"up", "run"} {
		_, got := janos(t, dir, 18, "lab", verb, "bad.yaml")
		contains(t, got, `bad.yaml:5:12: a second node named "a"`)
	}
	_, got = janos(t, dir, 19, "lab", "run", "nothing.yaml")
	contains(t, got, "topology file: open nothing.yaml")

	write(t, dir, "apart.yaml", "name: apart\nnodes:\n  - {name: a, kind: host}\n  - {name: b, kind: host}\n")
	out, got := janos(t, dir, 0, "lab", "validate", "apart.yaml")
	contains(t, out, "apart.yaml: ok, 2 nodes, 0 links")
	contains(t, got, "apart.yaml:4:12: warning: node b cannot be reached from a; add a link")
	out, _ = janos(t, dir, 0, "lab", "validate", "--plan", "apart.yaml")
	contains(t, out, "10.255.0.2")

	schema, _ := janos(t, dir, 0, "lab", "schema")
	write(t, dir, "schema.yaml", schema)
	_, got = janos(t, dir, 19, "lab", "validate", "schema.yaml")
	contains(t, got, "schema.yaml:45:11: protocol: ")
	contains(t, got, "paths are relative to the topology file")
	if err := os.Mkdir(filepath.Join(dir, "ping"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "ping/ping.yaml", "name: ping\n") // its contents are looked at when it is registered
	janos(t, dir, 0, "lab", "validate", "schema.yaml")
}

const virtualTopology = `name: virtual
duration: 3s
nodes:
  - {name: h, kind: host}
  - {name: r, kind: router}
  - {name: s, kind: router}
  - {name: g, kind: host}
links:
  - {ends: [h, r], delay: 1ms, loss: 20%}
  - {ends: [r, s], delay: 3ms, rate: 1Mbit}
  - {ends: [s, g], delay: 1ms}
actions:
  - {at: 1500ms, do: link-down, link: r-s}
  - {at: 2s, do: kill, node: s}
`

func TestLabRunVirtualIsTheSameTwice(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "lab.yaml", virtualTopology)
	run := func(seed string) string {
		out, _ := janos(t, dir, 0, "lab", "run", "--virtual", "--seed", seed, "--events", "log", "lab.yaml")
		contains(t, out, "lab virtual: 3.000 s of virtual time, 4 nodes, seed "+seed+", events in log")
		b, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	one := run("3")
	contains(t, one, "neighbour-up")
	contains(t, one, `"event":"link-down"`)
	if two := run("3"); one != two {
		t.Errorf("two runs with one seed differ:\n%s\n%s", one, two)
	}
	if three := run("4"); one == three {
		t.Error("another seed makes no difference")
	}
	if out, _ := janos(t, dir, 0, "lab", "run", "--virtual", "--seed", "3", "lab.yaml"); out != one {
		t.Error("standard output is not the event log")
	}
	write(t, dir, "kernel.yaml", "name: kernel\nnodes: [{name: h, kind: host}]\nactions: [{at: 0s, do: exec, node: h, command: [ls]}]\n")
	_, got := janos(t, dir, 26, "lab", "run", "--virtual", "kernel.yaml")
	contains(t, got, "exec needs network namespaces")
}

func TestLabUpAndWhatCanBeDoneToIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	dir := t.TempDir()
	state := "--state=" + dir
	write(t, dir, "lab.yaml", `name: jnup
nodes: [{name: a, kind: host}, {name: b, kind: router}]
links: [{ends: [a, b], delay: 1ms}]
`)
	out, _ := janos(t, dir, 0, "lab", "up", "--detach", state, "lab.yaml")
	t.Cleanup(func() { janos(t, dir, 19, "lab", "down", state) }) // which finds nothing, unless the test has failed
	contains(t, out, "lab jnup is up")
	_, got := janos(t, dir, 20, "lab", "up", "--detach", state, "lab.yaml")
	contains(t, got, "lab jnup is up already")
	out, _ = janos(t, dir, 0, "lab", "status", state)
	contains(t, out, "10.255.0.2")
	out, _ = janos(t, dir, 0, "lab", "exec", state, "a", "--", "cat", "/proc/net/dev")
	contains(t, out, "eth0")
	out, _ = janos(t, dir, 3, "lab", "exec", state, "a", "sh", "-c", "echo $JANOS_CONTROL; exit 3")
	contains(t, out, "nodes/a/control")
	_, got = janos(t, dir, 19, "lab", "exec", state, "z", "true")
	contains(t, got, `no node "z"`)
	janos(t, dir, 0, "lab", "do", state, "kill", "b")
	out, _ = janos(t, dir, 0, "lab", "events", state, "jnup")
	contains(t, out, "ended b killed: signal: killed")
	out, _ = janos(t, dir, 0, "lab", "events", state, "lab.yaml", "--json")
	contains(t, out, `"event":"ready"`)
	janos(t, dir, 0, "lab", "events", state, "--node", "b")
	out, _ = janos(t, dir, 0, "lab", "logs", state, "a", "b")
	contains(t, out, "node is up")
	out, _ = janos(t, dir, 0, "lab", "status", state, "--json")
	contains(t, out, `"exit": "signal: killed"`)
	out, _ = janos(t, dir, 0, "lab", "down", state, "lab.yaml")
	contains(t, out, "lab jnup is down")
	if _, err := os.Stat(filepath.Join(dir, "janos-lab-jnup")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state directory: %v", err)
	}
	_, got = janos(t, dir, 19, "lab", "status", state)
	contains(t, got, "no lab is up; start one with janos lab up FILE")
}

func TestLabRunPlaysActions(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	dir := t.TempDir()
	write(t, dir, "run.yaml", `name: jnrun
nodes: [{name: a, kind: host}, {name: b, kind: router}]
links: [{ends: [a, b], direct: true}]
actions: [{at: 0s, do: exec, node: a, command: [echo, hello]}]
`)
	out, _ := janos(t, dir, 0, "lab", "run", "--state", dir, "--events", "log", "run.yaml")
	contains(t, out, "exec a echo hello: exit 0: hello")
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(log), `"event":"exec"`)
	write(t, dir, "fail.yaml", `name: jnrun
nodes: [{name: a, kind: host}]
actions: [{at: 0s, do: exec, node: a, command: [sh, -c, exit 4]}]
`)
	out, got := janos(t, dir, 32, "lab", "run", "--state", dir, "fail.yaml")
	contains(t, out, "failed a exec")
	contains(t, got, "exit code 4")
}

// TestLabUpInterruptedAndKilled ends the process that keeps a network in both ways, and expects nothing to be left: at once after an interrupt,
// after the next command when it was killed.
func TestLabUpInterruptedAndKilled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	dir := t.TempDir()
	state := "--state=" + dir
	write(t, dir, "lab.yaml", `name: jnsignal
nodes: [{name: a, kind: host}, {name: b, kind: router}]
links: [{ends: [a, b], delay: 1ms}]
`)
	keep := func() *exec.Cmd {
		cmd := exec.Command("/proc/self/exe", "lab", "up", state, "lab.yaml")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), envMain+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), " ready") {
				return cmd
			}
		}
		t.Fatalf("the lab did not come up: %v", cmd.Wait())
		return nil
	}
	spaces := func() string {
		list, err := filepath.Glob("/run/netns/jn-jnsignal*")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(list, " ")
	}

	cmd := keep()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	if left := spaces(); left != "" {
		t.Errorf("after an interrupt: %s", left)
	}

	cmd = keep()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if spaces() == "" {
		t.Error("kill -9 leaves no namespaces: this test tests nothing")
	}
	out, _ := janos(t, dir, 0, "lab", "down", state)
	contains(t, out, "removed what lab jnsignal had left")
	if left := spaces(); left != "" {
		t.Errorf("after the sweep: %s", left)
	}
	cmd = keep() // the second run works
	out, _ = janos(t, dir, 0, "lab", "down", state)
	contains(t, out, "lab jnsignal is down")
	if err := cmd.Wait(); err != nil {
		t.Errorf("taken down by another command: %v", err)
	}
}
