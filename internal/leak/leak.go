package leak

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// spare are the files that the runtime and the testing package open once: epoll, its eventfd, /dev/null, the log.
const spare = 4

// Main is for TestMain: it runs the tests and exits. Prefixes are the beginnings of the names of namespaces and links that
// the package's tests make.
func Main(m *testing.M, prefixes ...string) { os.Exit(Run(m, prefixes...)) }

// Run is Main that returns the exit code.
func Run(m *testing.M, prefixes ...string) int {
	before := files()
	code := m.Run()
	if code != 0 {
		return code // what a failed test leaves is its own affair
	}
	var left []string
	if err := goleak.Find(); err != nil {
		left = append(left, err.Error())
	}
	after := files()
	for kind, n := range after {
		if strings.HasPrefix(kind, "anon_inode:bpf") && n > before[kind] {
			left = append(left, fmt.Sprintf("%d of %s", n-before[kind], kind))
		}
	}
	if n := total(after) - total(before); n > spare {
		left = append(left, fmt.Sprintf("%d open files: %v", n, after))
	}
	left = append(left, children()...)
	left = append(left, named(prefixes)...)
	for _, l := range left {
		fmt.Fprintln(os.Stderr, "the tests leave", l)
	}
	if len(left) > 0 {
		return 1
	}
	return 0
}

// files counts the open files of the process by what they are. Elsewhere than Linux it finds none.
func files() map[string]int {
	m := make(map[string]int)
	list, _ := os.ReadDir("/proc/self/fd") // not there: nothing to count
	for _, e := range list {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			continue // the directory itself
		}
		if kind, _, ok := strings.Cut(to, ":["); ok {
			to = kind // socket, pipe
		}
		m[to]++
	}
	return m
}

func total(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// children lists the processes whose parent this one is.
func children() (left []string) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, l := range lists {
		b, err := os.ReadFile(l)
		if err != nil {
			continue // a thread that has ended, or a kernel without this file
		}
		for _, pid := range strings.Fields(string(b)) {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			left = append(left, fmt.Sprintf("process %s %s", pid, strings.TrimSpace(string(name))))
		}
	}
	return left
}

// named lists namespaces and links by their names.
func named(prefixes []string) (left []string) {
	for _, p := range prefixes {
		spaces, _ := filepath.Glob("/run/netns/" + p + "*")
		for _, s := range spaces {
			left = append(left, "namespace "+filepath.Base(s))
		}
		links, _ := net.Interfaces()
		for _, l := range links {
			if strings.HasPrefix(l.Name, p) {
				left = append(left, "link "+l.Name)
			}
		}
	}
	return left
}
