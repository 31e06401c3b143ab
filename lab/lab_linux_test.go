package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/internal/netns"
	"github.com/janos-os/janos/internal/netns/netnstest"
	"github.com/janos-os/janos/lab/wire"
	"github.com/janos-os/janos/linkmodel"
)

// TestMain is also every process that the tests start: the helpers of Lab, nodes, owners that get killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "helper" {
		os.Exit(helperMain(os.Args[2], os.Args[3:]))
	}
	before := openFiles()
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if after := openFiles(); code == 0 && after > before+spareFiles {
		fmt.Fprintf(os.Stderr, "%d files open before, %d after\n", before, after)
		code = 1
	}
	if left := leftovers(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		code = 1
	}
	os.Exit(code)
}

// spareFiles are what the runtime and the test's own log open once: epoll, its eventfd, /dev/null.
const spareFiles = 4

func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(list)
}

func helperMain(verb string, args []string) int {
	switch verb {
	case "wire":
		return wire.Main(args, os.Stdin, os.Stdout, os.Stderr)
	case "counters":
		return CountersMain(args, os.Stdout, os.Stderr)
	case "probe":
		return ProbeMain(os.Stderr)
	case "node": // says that it is ready, then waits to be told to end
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("hello from", args[0])
		if err := os.WriteFile("ready", nil, 0o600); err != nil {
			return 1
		}
		<-c
		return 0
	case "broken": // a node that fails
		fmt.Println("cannot find my shoes")
		return 3
	case "stubborn": // a command that does not want to end
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		fmt.Println("stubborn")
		for {
			_ = unix.Pause() // select would be a deadlock to a runtime that has nothing else to do
		}
	case "owner": // builds a lab, says so, runs a stray process in it, waits to be killed
		return ownerMain(args)
	case "user": // is started as an ordinary user; makes an owner in a user namespace
		runtime.LockOSThread()
		cmd := exec.Command("/proc/self/exe", append([]string{"helper", "owner"}, args...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		InUserNamespace(cmd)
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "unknown verb", verb)
	return 2
}

func ownerMain(args []string) int {
	l, err := Up(context.Background(), pairTopology(args[1]), testOptions(args[0]))
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	started := make(chan struct{})
	pr, pw := io.Pipe()
	go func() {
		_, _ = bufio.NewReader(pr).ReadString('\n')
		close(started)
	}()
	go func() { _, _ = l.Exec(context.Background(), "a", helper("stubborn"), nil, pw, os.Stderr) }()
	<-started
	rtt, err := echo(l, "a", "b")
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("up", rtt > 0)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it
	if err := l.Down(); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("down")
	return 0
}

func helper(args ...string) []string {
	return append([]string{"/proc/self/exe", "helper"}, args...)
}

// testOptions have nodes whose processes are this program.
func testOptions(stateDir string) Options {
	return Options{
		StateDir: stateDir,
		Helper:   helper(),
		Node: func(n *NodePlan, dir string) ([]string, error) {
			return helper("node", n.Name), nil
		},
		Ready: func(ctx context.Context, n *NodePlan, dir string) error {
			return waitFile(ctx, filepath.Join(dir, "ready"))
		},
	}
}

// waitFile waits for a file; there is nothing to be notified by that would be simpler than looking.
func waitFile(ctx context.Context, path string) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func pairTopology(name string) *Topology {
	return &Topology{
		Name:  name,
		Nodes: []Node{{Name: "a", Kind: Host}, {Name: "b", Kind: Host}},
		Links: []Link{{Ends: [2]string{"a", "b"}}},
	}
}

// leftovers returns what labs of this package's tests left on the machine. Their names begin with jt, which no other package's do:
// those may be tested at the same time.
func leftovers() string {
	var left []string
	names, _ := netns.List(netns.Dir, "jn-jt")
	left = append(left, names...)
	if ifs, err := net.Interfaces(); err == nil {
		for _, i := range ifs {
			if strings.HasPrefix(i.Name, "jn") {
				left = append(left, "interface "+i.Name)
			}
		}
	}
	return strings.Join(left, " ")
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
}

// up builds a lab that is taken down at the end of the test, which fails if something is left.
func up(t *testing.T, topo *Topology, change func(*Options)) *Lab {
	t.Helper()
	needRoot(t)
	opt := testOptions(t.TempDir())
	if change != nil {
		change(&opt)
	}
	l, err := Up(t.Context(), topo, opt)
	if err != nil {
		t.Fatal(err)
	}
	pids := l.Status().Processes
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
		if left, _ := netns.List(netns.Dir, "jn-"+topo.Name); len(left) != 0 {
			t.Errorf("namespaces left: %v", left)
		}
		if _, err := os.Stat(l.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("state directory left: %v", err)
		}
		for _, p := range pids {
			if p.alive() {
				t.Errorf("process left: %+v", p)
			}
		}
	})
	return l
}

// echo sends a datagram from one node's address to the other's and back, and returns how long that took.
func echo(l *Lab, from, to string) (rtt time.Duration, err error) {
	a, b := l.Plan().Node(from), l.Plan().Node(to)
	dst := b.Addr
	if a.Interfaces[0].Peer == to { // neighbours have no route to each other's node address
		dst = a.Interfaces[0].PeerAddr
	}
	var server, client *net.UDPConn
	err = l.Do(to, func() (err error) {
		server, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 0)))
		return err
	})
	if err != nil {
		return 0, err
	}
	answered := make(chan error, 1)
	go func() {
		var buf [100]byte
		n, from, err := server.ReadFromUDPAddrPort(buf[:])
		if err == nil {
			_, err = server.WriteToUDPAddrPort(buf[:n], from)
		}
		answered <- err
	}()
	defer func() { server.Close(); <-answered }()
	port := server.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	err = l.Do(from, func() (err error) {
		client, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, port)))
		return err
	})
	if err != nil {
		return 0, err
	}
	defer client.Close()
	start := time.Now()
	if _, err := client.Write([]byte("hello")); err != nil {
		return 0, err
	}
	if err := client.SetReadDeadline(start.Add(10 * time.Second)); err != nil {
		return 0, err
	}
	var buf [100]byte
	n, err := client.Read(buf[:])
	if err != nil {
		return 0, err
	}
	if string(buf[:n]) != "hello" {
		return 0, fmt.Errorf("%q came back", buf[:n])
	}
	return time.Since(start), nil
}

// sum adds up the packets that nodes sent and received, and compares both ends of every link.
func count(t *testing.T, l *Lab) (tx, rx uint64) {
	t.Helper()
	list, err := l.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, lp := range l.Plan().Links {
		if want += 4; lp.Direct {
			want -= 2
		}
	}
	if len(list) != want {
		t.Fatalf("%d counters, want %d", len(list), want)
	}
	for _, c := range list {
		if !c.Wire {
			tx += c.TxPackets
			rx += c.RxPackets
		}
	}
	return tx, rx
}

func TestExampleNetworkCarriesTraffic(t *testing.T) {
	topo, err := Load("../examples/first-network/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	topo.Name, topo.Routes = "jtexample", StaticRoutes
	l := up(t, topo, nil)
	if tx, rx := count(t, l); tx != 0 || rx != 0 {
		t.Errorf("a network in which nobody sends has sent %d and received %d frames", tx, rx)
	}
	for _, to := range []string{"r1", "r2", "r3"} {
		rtt, err := echo(l, "s1", to)
		if err != nil {
			t.Fatalf("s1 - %s: %v", to, err)
		}
		// Delays are lower bounds, whatever else the machine does: 1+2+2+1 ms is the shortest way of all, to r1, and back.
		if rtt < 12*time.Millisecond {
			t.Errorf("s1 - %s and back took %s, less than the delays on the way", to, rtt)
		}
	}
	// s1-a-b-d-r1: 4 links; r2: a-b-d-f, 5 links; r3: a-c-e or a-b-e with 8 and 9 ms, 4 links. Each twice.
	tx, rx := count(t, l)
	if tx != 26 || rx != 26 {
		t.Errorf("sent %d, received %d frames, want 26 each", tx, rx)
	}
	stats, err := l.WireStats()
	if err != nil {
		t.Fatal(err)
	}
	var carried uint64
	for _, s := range stats {
		for _, d := range s.Directions {
			carried += d.Delivered
			if d.Received != d.Delivered || d.Overrun != 0 {
				t.Errorf("link %s: %+v", s.Name, d)
			}
		}
	}
	if carried != 26 {
		t.Errorf("the wire carried %d frames", carried)
	}
}

func TestLinksGoDownAndUp(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("direct=%v", direct), func(t *testing.T) {
			topo := pairTopology("jtlink")
			topo.Nodes = append(topo.Nodes, Node{Name: "c", Kind: Router})
			topo.Links = []Link{{Ends: [2]string{"a", "c"}, Direct: direct}, {Ends: [2]string{"c", "b"}}}
			topo.Routes = StaticRoutes
			l := up(t, topo, nil)
			if _, err := echo(l, "a", "b"); err != nil {
				t.Fatal(err)
			}
			if err := l.SetLink("a-c", false); err != nil {
				t.Fatal(err)
			}
			carrier := func() (flags net.Flags) {
				err := l.Do("c", func() error {
					i, err := net.InterfaceByName("eth0")
					if err == nil {
						flags = i.Flags
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return flags
			}
			if carrier()&net.FlagRunning != 0 {
				t.Error("carrier is there after link-down")
			}
			if err := l.SetLink("a-c", true); err != nil {
				t.Fatal(err)
			}
			if _, err := echo(l, "a", "b"); err != nil {
				t.Errorf("after link-up: %v", err)
			}
			if err := l.SetLink("x", true); errs.KindOf(err) != errs.NotFound {
				t.Errorf("unknown link: %v", err)
			}
			err := l.Impair("a-c", linkmodel.Impairment{Loss: 1})
			if direct && errs.KindOf(err) != errs.Invalid || !direct && err != nil {
				t.Errorf("impair: %v", err)
			}
			if !direct {
				list := l.Events()
				if e := list[len(list)-1]; e.What != "impair" || e.Link != "a-c" || e.Detail != `{"loss":1}` {
					t.Errorf("last event = %v", e)
				}
			}
		})
	}
}

func TestNodesDieAndStartAgain(t *testing.T) {
	l := up(t, pairTopology("jtnodes"), nil)
	st := l.Status().Nodes[0]
	if st.PID == 0 || st.Started != 1 {
		t.Fatalf("node a: %+v", st)
	}
	if b, err := os.ReadFile(st.Log); err != nil || string(b) != "hello from a\n" {
		t.Errorf("log = %q, %v", b, err)
	}
	if err := l.Start(t.Context(), "a"); errs.KindOf(err) != errs.Exists {
		t.Errorf("start of a running node: %v", err)
	}
	if err := l.Kill("a"); err != nil {
		t.Fatal(err)
	}
	if st := l.Status().Nodes[0]; st.PID != 0 || st.Exit != "signal: killed" {
		t.Errorf("after kill: %+v", st)
	}
	if err := l.Kill("a"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("kill of a dead node: %v", err)
	}
	if err := os.Remove(filepath.Join(st.Dir, "ready")); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop("a"); err != nil {
		t.Fatal(err)
	}
	if st := l.Status().Nodes[0]; st.Started != 2 || st.Exit != "exit status 0" {
		t.Errorf("after stop: %+v", st)
	}
	if _, err := echo(l, "a", "b"); err != nil {
		t.Errorf("the kernel's stack of a stopped node: %v", err)
	}
	var what []string
	for _, e := range l.Events() {
		what = append(what, strings.TrimSpace(e.What+" "+e.Node))
	}
	want := []string{"building", "start a", "start b", "ready", "ended a", "restart a", "ended a"}
	if !reflect.DeepEqual(what, want) {
		t.Errorf("events = %q, want %q", what, want)
	}
}

func TestExec(t *testing.T) {
	l := up(t, pairTopology("jtexec"), nil)
	var out bytes.Buffer
	code, err := l.Exec(t.Context(), "b", []string{"sh", "-c", "cat; cat /proc/net/dev; exit 7"}, strings.NewReader("in\n"), &out, &out)
	if err != nil || code != 7 || !strings.HasPrefix(out.String(), "in\n") || !strings.Contains(out.String(), "eth0:") {
		t.Errorf("code %d, %v, output %q", code, err, &out)
	}
	if _, err := l.Exec(t.Context(), "b", []string{"/does/not/exist"}, nil, nil, nil); errs.KindOf(err) != errs.NotFound {
		t.Errorf("missing program: %v", err)
	}
	if _, err := l.Exec(t.Context(), "x", []string{"true"}, nil, nil, nil); errs.KindOf(err) != errs.NotFound {
		t.Errorf("missing node: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe()
	go func() {
		_, _ = bufio.NewReader(pr).ReadString('\n')
		cancel()
	}()
	if _, err := l.Exec(ctx, "b", helper("stubborn"), nil, pw, nil); errs.KindOf(err) != errs.Timeout {
		t.Errorf("cancelled command: %v", err)
	}
}

func TestDownEndsRunningCommands(t *testing.T) {
	l := up(t, pairTopology("jtdown"), nil)
	pr, pw := io.Pipe()
	code := make(chan int, 1)
	go func() {
		c, err := l.Exec(context.Background(), "a", helper("stubborn"), nil, pw, nil)
		if err != nil {
			c = -1
		}
		code <- c
	}()
	if _, err := bufio.NewReader(pr).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if c := <-code; c != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d", c)
	}
	if err := l.Down(); err != nil {
		t.Errorf("second Down: %v", err)
	}
	if err := l.SetLink("a-b", true); errs.KindOf(err) != errs.Dead {
		t.Errorf("SetLink after Down: %v", err)
	}
}

func TestUpRefusesWhatIsTaken(t *testing.T) {
	l := up(t, pairTopology("jttwice"), nil)
	_, err := Up(t.Context(), pairTopology("jttwice"), l.opt)
	if errs.KindOf(err) != errs.Exists || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("second Up: %v", err)
	}
	if _, err := echo(l, "a", "b"); err != nil {
		t.Errorf("the first lab after that: %v", err)
	}

	netnstest.New(t, "jn-jtforeign-a")
	opt := testOptions(t.TempDir())
	if _, err = Up(t.Context(), pairTopology("jtforeign"), opt); errs.KindOf(err) != errs.Exists || !strings.Contains(err.Error(), "ip netns del jn-jtforeign-a") {
		t.Errorf("Up over a foreign namespace: %v", err)
	}
	if _, err := netns.Open(netns.Dir, "jn-jtforeign-a"); err != nil {
		t.Errorf("the foreign namespace after that: %v", err)
	}
	if swept, err := Sweep(opt.StateDir); err != nil || len(swept) != 0 {
		t.Errorf("Sweep = %v, %v", swept, err)
	}
}

func TestFailedUpLeavesNothing(t *testing.T) {
	needRoot(t)
	for name, change := range map[string]func(*Options) string{
		"node fails": func(o *Options) string {
			o.Node = func(n *NodePlan, dir string) ([]string, error) { return append(o.Helper, "broken"), nil }
			return "cannot find my shoes"
		},
		"no such program": func(o *Options) string {
			o.Node = func(n *NodePlan, dir string) ([]string, error) { return []string{"/no/such/program"}, nil }
			return "/no/such/program"
		},
		"wire fails": func(o *Options) string {
			o.Helper = append(o.Helper, "broken")
			return "wire process"
		},
	} {
		t.Run(name, func(t *testing.T) {
			opt := testOptions(t.TempDir())
			want := change(&opt)
			l, err := Up(t.Context(), pairTopology("jtfail"), opt)
			if err == nil {
				_ = l.Down()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
			checkGone(t, opt.StateDir, "jtfail")
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		opt := testOptions(t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		opt.Ready = func(ctx context.Context, n *NodePlan, dir string) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}
		if _, err := Up(ctx, pairTopology("jtfail"), opt); !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
		checkGone(t, opt.StateDir, "jtfail")
	})
}

func checkGone(t *testing.T, stateDir, name string) {
	t.Helper()
	if left, _ := netns.List(netns.Dir, "jn-"+name); len(left) != 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(stateDir, statePrefix+name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state directory left: %v", err)
	}
}

// owner starts a process that owns a lab, and returns when the lab is up.
func owner(t *testing.T, verb, dir, name string, attr *syscall.SysProcAttr) (cmd *exec.Cmd, in io.Closer, out *bufio.Reader) {
	t.Helper()
	argv := helper(verb, dir, name)
	cmd = exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out = bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); line != "up true\n" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the owner said %q, %v", line, err)
	}
	return cmd, stdin, out
}

func TestSweepAfterKilledOwner(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	cmd, _, _ := owner(t, "owner", dir, "jtkilled", nil)
	s, err := ReadState(dir, "jtkilled")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Processes) != 3 || !s.Alive() {
		t.Errorf("state: %d processes, owner alive: %v", len(s.Processes), s.Alive())
	}
	if swept, err := Sweep(dir); err != nil || len(swept) != 0 {
		t.Errorf("Sweep of a live lab = %v, %v", swept, err)
	}
	if left, _ := netns.List(netns.Dir, "jn-jtkilled"); len(left) != 3 {
		t.Errorf("namespaces of the live lab: %v", left)
	}
	inodes := map[uint64]bool{}
	for _, name := range s.Spaces {
		ns, err := netns.Open(s.SpaceDir, name)
		if err != nil {
			t.Fatal(err)
		}
		in, err := ns.Inode()
		if err != nil {
			t.Fatal(err)
		}
		inodes[in] = true
		ns.Close()
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the owner ended well")
	}
	// The next Up, of any lab, sweeps.
	opt := testOptions(dir)
	l, err := Up(t.Context(), pairTopology("jtnext"), opt)
	if err != nil {
		t.Fatal(err)
	}
	checkGone(t, dir, "jtkilled")
	for _, p := range s.Processes {
		if p.alive() {
			t.Errorf("process left: %+v", p)
		}
	}
	if pids := netns.Inhabitants(inodes); len(pids) != 0 {
		t.Errorf("processes left in the namespaces: %v", pids)
	}
	if err := l.Down(); err != nil {
		t.Error(err)
	}
	if swept, err := Sweep(dir); err != nil || len(swept) != 0 {
		t.Errorf("second Sweep = %v, %v", swept, err)
	}
}

func TestSweepLeavesStrangersAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"other", statePrefix + "a b", statePrefix + "linked"} {
		if name == statePrefix+"linked" {
			if err := os.Symlink(filepath.Join(dir, "other"), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, name, "keep"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, statePrefix+"open"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, statePrefix+"open"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, statePrefix+"early"), 0o700); err != nil {
		t.Fatal(err)
	}
	// A process whose number is in a state file, but which started at another time, is somebody else.
	self, err := process(os.Getpid(), "wire")
	if err != nil {
		t.Fatal(err)
	}
	self.Start++
	s := State{Name: "reused", Dir: filepath.Join(dir, statePrefix+"reused"), SpaceDir: netns.Dir, Processes: []Process{self}}
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	swept, err := Sweep(dir)
	if err != nil || !reflect.DeepEqual(swept, []string{"early", "reused"}) {
		t.Errorf("Sweep = %v, %v", swept, err)
	}
	for _, keep := range []string{"other/keep", statePrefix + "a b/keep", statePrefix + "open", statePrefix + "linked"} {
		if _, err := os.Lstat(filepath.Join(dir, keep)); err != nil {
			t.Error(err)
		}
	}
	if _, err := ReadState(dir, "open"); errs.KindOf(err) != errs.Permission {
		t.Errorf("state in a directory that everybody can write: %v", err)
	}
	if _, err := ReadState(dir, "nothing"); errs.KindOf(err) != errs.NotFound {
		t.Errorf("state of nothing: %v", err)
	}
}

func TestUserNamespace(t *testing.T) {
	if form, why := BestForm([]string{"/proc/self/exe", "helper"}); form < UserNamespace {
		t.Skip("no user namespaces here: ", why)
	}
	attr := &syscall.SysProcAttr{}
	dir, err := os.MkdirTemp("", "jtu") // where an ordinary user can come
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() == 0 { // play an ordinary user
		const nobody = 65534
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd, in, out := owner(t, "user", dir, "jtuser", attr)
	if left := leftovers(); left != "" {
		t.Errorf("outside one sees %s", left)
	}
	in.Close()
	if line, err := out.ReadString('\n'); line != "down\n" {
		t.Errorf("the owner said %q, %v", line, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}

	// Killed: everything dies with the owner's namespaces, and the next one removes the files.
	cmd, _, out = owner(t, "user", dir, "jtuser", attr)
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The process inside dies because of that, a moment later; its output then ends.
	if rest, err := io.ReadAll(out); err != nil || len(rest) != 0 {
		t.Errorf("after the kill it said %q, %v", rest, err)
	}
	_ = cmd.Wait()
	cmd, in, out = owner(t, "user", dir, "jtuser", attr)
	in.Close()
	if line, err := out.ReadString('\n'); line != "down\n" {
		t.Errorf("the next owner said %q, %v", line, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestBestForm(t *testing.T) {
	form, why := BestForm([]string{"/proc/self/exe", "helper"})
	if os.Geteuid() == 0 && form != Namespaces {
		t.Errorf("root, but the best form is %s: %s", form, why)
	}
	if form, why := BestForm([]string{"/no/such/program"}); os.Geteuid() != 0 && (form != OneProcess || why == "") {
		t.Errorf("without a helper: %s, %q", form, why)
	}
}
