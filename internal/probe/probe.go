package probe

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Answer is what a probe found.
type Answer string

// The answers.
const (
	Yes          Answer = "yes"
	No           Answer = "no"
	Inconclusive Answer = "inconclusive"
)

// Result is one line of the doctor's report.
type Result struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	Answer Answer `json:"answer"`
	Why    string `json:"why,omitempty"` // what was seen
	For    string `json:"for,omitempty"` // what it is used for
	Remedy string `json:"remedy,omitempty"`
}

// All runs every probe. It takes about a second, and leaves nothing behind.
func All() []Result {
	rs := []Result{{Group: "machine", Name: "platform", Answer: Yes, Why: runtime.GOOS + "/" + runtime.GOARCH + ", " + kernel()}}
	rs = append(rs, machine()...)
	return append(rs, compilers()...)
}

// tool is a program that some command of ours can use.
type tool struct {
	names  []string
	use    string
	remedy string
}

var tools = []tool{
	{[]string{"clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"}, "capsules in C", "apt-get install clang lld"},
	{[]string{"wasm-ld", "wasm-ld-19", "wasm-ld-18", "wasm-ld-17", "wasm-ld-16", "wasm-ld-15", "wasm-ld-14"}, "linking capsules", "apt-get install lld"},
	{[]string{"asc"}, "capsules in AssemblyScript", "npm install -g assemblyscript"},
	{[]string{"wat2wasm"}, "capsules in WebAssembly text", "apt-get install wabt"},
}

func compilers() []Result {
	var rs []Result
	for _, t := range tools {
		r := Result{Group: "compilers", Name: t.names[0], Answer: No, Why: "not in PATH", For: t.use, Remedy: t.remedy}
		for _, n := range t.names {
			if path, err := exec.LookPath(n); err == nil {
				r.Answer, r.Why, r.Remedy = Yes, path, ""
				break
			}
		}
		rs = append(rs, r)
	}
	return rs
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "kernel unknown"
	}
	return "kernel " + strings.TrimSpace(string(b))
}
