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
