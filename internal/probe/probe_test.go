package probe

import (
	"os"
	"runtime"
	"testing"
)

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
