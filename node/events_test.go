package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that takes nothing holds up neither those who add events nor those who read them.
func TestEventLogWithAFileThatIsStuck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	r, err := os.OpenFile(path, os.O_RDWR, 0) // not yet read from
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l, err := NewEventLog(path, false)
	if err != nil {
		t.Fatal(err)
	}
	pad := make([]byte, 400)
	const events = 3 * queuedEvents
	for i := range events {
		l.Add(map[string]any{"n": i, "pad": pad})
		l.Since(0)
	}
	if l.Dropped() == 0 {
		t.Error("a file that takes nothing lost nothing")
	}
	read := make(chan int)
	go func() {
		s, n := bufio.NewScanner(r), 0
		for s.Scan() && s.Text() != "end" {
			n++
		}
		read <- n
	}()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	fmt.Fprintln(r, "end")
	if n := <-read; uint64(n)+l.Dropped() != events {
		t.Errorf("%d were written, %d dropped, want %d in all", n, l.Dropped(), events)
	}
}

// Adding, reading and closing at the same time.
func TestEventLogUnderRace(t *testing.T) {
	for _, isStepped := range []bool{false, true} {
		l, err := NewEventLog("", isStepped)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range 2000 {
					l.Add(i)
				}
			}()
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			for next := uint64(0); next < 1000; {
				lines, n, more := l.Since(next)
				if uint64(len(lines)) != n-next {
					t.Errorf("%d lines from %d to %d", len(lines), next, n)
				}
				if next = n; next < 1000 {
					<-more
				}
			}
		}()
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		_, n, _ := l.Since(0)
		if n+l.Dropped() != 6000 {
			t.Errorf("%d kept, %d dropped", n, l.Dropped())
		}
		l.Add("late")
		if _, m, _ := l.Since(0); m != n {
			t.Error("a closed log took an event")
		}
	}
}
