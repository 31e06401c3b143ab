package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAnswers: only what a kernel refuses is a no.
func TestAnswers(t *testing.T) {
	forever := make(chan struct{})
	defer close(forever)
	for _, c := range []struct {
		name string
		fn   func() (string, error)
		want Answer
		says string
	}{
		{"there", func() (string, error) { return "seen", nil }, Yes, "seen"},
		{"denied", func() (string, error) { return "", syscall.EPERM }, No, "not permitted"},
		{"denied file", func() (string, error) { return "", &fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES} }, No, "/x"},
		{"unknown", func() (string, error) { return "", fmt.Errorf("socket: %w", syscall.EAFNOSUPPORT) }, No, "socket"},
		{"unknown call", func() (string, error) { return "", syscall.ENOSYS }, No, ""},
		{"unknown option", func() (string, error) { return "", syscall.ENOPROTOOPT }, No, ""},
		{"turned off", func() (string, error) { return "", fmt.Errorf("it is 0: %w", errAbsent) }, No, "it is 0"},
		{"said to be absent", func() (string, error) { return "", absent(syscall.EINVAL) }, No, "invalid"},
		{"invalid", func() (string, error) { return "", syscall.EINVAL }, Inconclusive, "invalid"},
		{"no memory", func() (string, error) { return "", syscall.ENOMEM }, Inconclusive, "memory"},
		{"no descriptors", func() (string, error) { return "", syscall.EMFILE }, Inconclusive, "files"},
		{"busy", func() (string, error) { return "", syscall.EBUSY }, Inconclusive, "busy"},
		{"what it needs is unknown", func() (string, error) { return "", undecided("a veth", syscall.EOPNOTSUPP) }, Inconclusive, "a veth is missing"},
		{"what it needs is denied", func() (string, error) { return "", undecided("a veth", syscall.EPERM) }, No, "not permitted"},
		{"partly seen", func() (string, error) { return "half of it", syscall.EIO }, Inconclusive, "half of it: input/output"},
		{"panics", func() (string, error) { panic("oops") }, Inconclusive, "oops"},
		{"hangs", func() (string, error) { <-forever; return "", nil }, Inconclusive, "no answer within"},
		{"something else", func() (string, error) { return "", errors.New("strange") }, Inconclusive, "strange"},
	} {
		patience := 20 * time.Second
		if c.name == "hangs" {
			patience = time.Millisecond
		}
		k := check{"g", c.name, "use", "remedy", c.fn}
		r := k.run(patience)
		if r.Answer != c.want || !strings.Contains(r.Why, c.says) || r.Name != c.name || r.For != "use" || (r.Remedy == "") != (r.Answer == Yes) {
			t.Errorf("%s: %+v, want %s with %q", c.name, r, c.want, c.says)
		}
	}
	if errors.Is(undecided("x", nil), errUndecided) || absent(nil) != nil {
		t.Error("no error became one")
	}
}

// TestNoSideEffects: what was made on the way was made elsewhere.
func TestNoSideEffects(t *testing.T) {
	All()
	is, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range is {
		if strings.HasPrefix(i.Name, "jnprobe") {
			t.Errorf("interface %s is left", i.Name)
		}
	}
}

// TestEveryFeatureHasARow: what drivers, benchmarks, laboratories and routing use.
func TestEveryFeatureHasARow(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("not Linux")
	}
	rows := map[string]bool{}
	for _, r := range All() {
		if rows[r.Group+r.Name] {
			t.Errorf("row %s is there twice", r.Name)
		}
		rows[r.Group+r.Name] = true
		rows[r.Name] = true
		if r.Answer == Inconclusive && r.Why == "" {
			t.Errorf("%s: inconclusive, without why", r.Name)
		}
		if os.Geteuid() == 0 && runtime.GOOS == "linux" && r.Answer == No && strings.Contains(r.Why, "no answer") {
			t.Errorf("%+v", r)
		}
	}
	for _, name := range strings.Split("root,CPUs,locked memory,cgroups v2,perf counters,membarrier,network namespaces,veth,user namespaces,eBPF,BPF JIT,BPF mapped memory,BPF test run,"+
		"live frames,XDP native,XDP generic,AF_XDP,AF_XDP need_wakeup,AF_XDP zero copy,devmap redirect,busy poll,packet sockets,packet fanout,qdisc bypass,tcx,clsact,UDP GSO,UDP GRO,"+
		"netlink routes,netlink buffers,clang,wasm-ld,asc,wat2wasm", ",") {
		if !rows[name] {
			t.Errorf("no row %q", name)
		}
	}
}

func TestAnswersAreComplete(t *testing.T) {
	for _, r := range All() {
		if r.Name == "" || r.Group == "" || (r.Answer != Yes && r.Answer != No && r.Answer != Inconclusive) {
			t.Errorf("incomplete: %+v", r)
		}
		if r.Answer == No && (r.Why == "" || r.Remedy == "") {
			t.Errorf("%s: no, without why and remedy: %+v", r.Name, r)
		}
	}
}

func TestRootAnswerAgreesWithTheMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("not Linux")
	}
	for _, r := range All() {
		if r.Name == "root" && (r.Answer == Yes) != (os.Geteuid() == 0) {
			t.Errorf("effective user %d, answer %s", os.Geteuid(), r.Answer)
		}
	}
}

func TestXDPIsProbed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("not Linux")
	}
	rows := map[string]Result{}
	for _, r := range All() {
		rows[r.Name] = r
	}
	for _, name := range []string{"XDP native", "XDP generic", "AF_XDP"} {
		r, ok := rows[name]
		if !ok || r.For == "" {
			t.Errorf("%s is not probed: %+v", name, r)
		}
		if r.Answer == Yes && rows["eBPF"].Answer != Yes && name != "AF_XDP" {
			t.Errorf("%s: yes, without eBPF", name)
		}
	}
	if rows["veth"].Answer == Yes && rows["eBPF"].Answer == Yes && rows["XDP generic"].Answer == Inconclusive {
		t.Errorf("generic XDP works on every Ethernet: %+v", rows["XDP generic"])
	}
}
