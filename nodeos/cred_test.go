package nodeos

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/demux"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// guarded is a node with a policy, a domain, a pool and a link, made before the credential under test lost a right.
type guarded struct {
	*rig
	cred *Cred
	d    *Domain
	p    *MemPool
	seen []string
}

// Check implements Policy: it notes what is asked and decides as Capabilities do.
func (g *guarded) Check(cred *Cred, op Operation, object string) error {
	g.seen = append(g.seen, op.String()+" "+object)
	return Capabilities{}.Check(cred, op, object)
}

func guard(t *testing.T) *guarded {
	g := &guarded{cred: NewCred("c", AllRights)}
	n, err := NewNode(NodeSpec{Name: "t", Clock: clock.NewVirtual(time.Time{}), Stepped: true, Packets: packet.PoolSpec{Frames: 64}, Policy: g, Cred: g.cred})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	g.rig = &rig{t, n, n.clk.(*clock.Virtual)}
	g.link("eth0")
	g.p = g.pool(n.Root(), MemPoolSpec{Name: "p"})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/f", []byte("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	var made error
	if g.d, made = n.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Files: FilesSpec{Dir: dir}}); made != nil {
		t.Fatal(made)
	}
	return g
}

// put gives the domain a descriptor behind the policy's back.
func (g *guarded) put() Descriptor {
	g.node.descs.mu.Lock()
	defer g.node.descs.mu.Unlock()
	e, err := g.d.descs.add(DomainDesc, AllDescRights, g.d)
	if err != nil {
		g.Fatal(err)
	}
	return e.id
}

// calls has, for each operation, the call that asks, and what it has to name as the object.
var calls = map[Operation]struct {
	object string
	do     func(g *guarded) error
}{
	OpNewDomain: {"node/d/x", func(g *guarded) error {
		_, err := g.d.NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}})
		return err
	}},
	OpTerminate: {"node/d", func(g *guarded) error { return g.d.TerminateBy(g.node.Root(), nil) }},
	OpNewTask: {"node/d/x", func(g *guarded) error {
		_, err := g.d.NewTask(TaskSpec{Name: "x", Run: RunFunc(func(Budget) Used { return Used{} })})
		return err
	}},
	OpNewFD: {"node/d/x", func(g *guarded) error {
		task, err := g.d.newTask(TaskSpec{Name: "x", Run: RunFunc(func(Budget) Used { return Used{} })})
		if err != nil {
			return err
		}
		if _, err = task.NewFD(0, false); errors.Is(err, errs.NotSupported) { // a stepped node has none: the policy let it come to that
			return nil
		}
		return err
	}},
	OpNewInChan: {"eth0/ether", func(g *guarded) error {
		_, err := g.d.NewInChan(InChanSpec{Protocol: "eth0/ether", Handler: func(*Worker, *packet.Batch) {}})
		return err
	}},
	OpNewOutChan: {"eth0/ether", func(g *guarded) error { _, err := g.d.NewOutChan(OutChanSpec{Protocol: "eth0/ether"}); return err }},
	OpNewCutChan: {"eth0/ether", func(g *guarded) error {
		_, err := g.d.NewCutChan(InChanSpec{Protocol: "eth0/ether"}, OutChanSpec{Protocol: "eth0/ether"})
		return err
	}},
	OpNewMemPool: {"node/x", func(g *guarded) error { _, err := g.node.NewMemPool(MemPoolSpec{Name: "x"}); return err }},
	OpSetMemPool: {"node/p", func(g *guarded) error { return g.p.SetLimit(7) }},
	OpEndMemPool: {"node/p", func(g *guarded) error { return g.p.Close() }},
	OpOpenLink: {"eth1", func(g *guarded) error {
		return g.node.AddLink(&pipe{info: LinkInfo{Name: "eth1", Number: 9, Base: demux.Ether, MTU: 1500}}, 0)
	}},
	OpCloseLink:        {"eth0", func(g *guarded) error { return g.node.CloseLink("eth0") }},
	OpReadFile:         {"node/d/f", func(g *guarded) error { _, err := g.d.OpenFile("f", Reading); return err }},
	OpWriteFile:        {"node/d/g", func(g *guarded) error { _, err := g.d.OpenFile("g", Writing); return err }},
	OpMakeDir:          {"node/d/g", func(g *guarded) error { return g.d.MakeDir("g") }},
	OpRemoveFile:       {"node/d/f", func(g *guarded) error { return g.d.RemoveFile("f") }},
	OpNewHeap:          {"node/d/x", func(g *guarded) error { _, err := g.d.NewHeap(HeapSpec{Name: "x"}); return err }},
	OpNewRegion:        {"node/d/x", func(g *guarded) error { _, err := g.d.NewRegion(RegionSpec{Name: "x", Size: 1}); return err }},
	OpPutDescriptor:    {"node/d/domain", func(g *guarded) error { _, err := g.d.Put(g.d, AllDescRights); return err }},
	OpGrantDescriptor:  {"node", func(g *guarded) error { _, err := g.d.Grant(g.put(), g.node.Root(), MayUse); return err }},
	OpRevokeDescriptor: {"node/d/1", func(g *guarded) error { g.put(); _, err := g.d.Revoke(1); return err }},
	OpSetDomain:        {"node/d", func(g *guarded) error { return g.d.SetShare(7) }},
	OpSetOutChan: {"eth0/ether", func(g *guarded) error {
		out, err := g.d.newOutChan(OutChanSpec{Protocol: "eth0/ether"})
		if err != nil {
			return err
		}
		return out.SetShare(7)
	}},
	OpSetLink:    {"eth0", func(g *guarded) error { return g.node.SetLinkRate("eth0", 7) }},
	OpRenameFile: {"node/d/f", func(g *guarded) error { return g.d.RenameFile("f", "g") }},
}

// A credential without a right is refused at each call, and one with that right alone is not.
func TestCredentialIsCheckedAtEachCall(t *testing.T) {
	for op := range NumOperations {
		t.Run(op.String(), func(t *testing.T) {
			call, ok := calls[op]
			if !ok || op.String() == "" || strings.HasPrefix(op.String(), "operation(") {
				t.Fatalf("operation %d has no call in this test, or no name", op)
			}
			g := guard(t)
			if g.node.spec.Policy != Policy(g) || g.node.Root().Cred() != g.cred {
				t.Fatal("the node has another policy or credential")
			}
			g.cred.rights = AllRights.Without(op)
			g.seen = nil
			err := call.do(g)
			if !errors.Is(err, errs.Permission) || errs.KindOf(err) != errs.Permission || !strings.Contains(err.Error(), call.object) || !strings.Contains(err.Error(), op.String()) {
				t.Errorf("without the right: %v", err)
			}
			if want := op.String() + " " + call.object; len(g.seen) != 1 || g.seen[0] != want {
				t.Errorf("the policy was asked %q, want %q", g.seen, want)
			}
			// Nothing was changed.
			g.settle()
			if n := g.node; len(g.d.Children()) != 0 || len(n.InChans()) != 0 || len(n.Links()) != 1 || len(n.Root().Account().Children()) != 2 || g.d.State() != Active ||
				g.p.Stats().Limit != 0 || g.p.Account().Closed() || op != OpNewFD && len(g.d.Tasks()) != 0 {
				t.Error("a refused call changed something")
			}
			if names, err := g.d.ListFiles("."); err != nil || len(names) != 1 || names[0] != "f" || g.d.FileStats() != (FileStats{}) {
				t.Errorf("a refused call changed files: %v, %v, %+v", names, err, g.d.FileStats())
			}
			g.cred.rights = RightsTo(op)
			if err := call.do(g); err != nil {
				t.Errorf("with the right: %v", err)
			}
		})
	}
	if len(calls) != int(NumOperations) {
		t.Errorf("%d calls for %d operations", len(calls), NumOperations)
	}
	g := guard(t)
	for name, set := range map[string]func() error{
		"limit":   func() error { return g.d.SetLimit(resctl.Memory, 1) },
		"run":     func() error { return g.d.SetMaxRun(time.Second) },
		"threads": func() error { return g.d.SetMaxThreads(1) },
		"pool":    func() error { return g.p.SetShare(5) },
	} {
		g.cred.rights = AllRights.Without(OpSetDomain, OpSetMemPool)
		if err := set(); !errors.Is(err, errs.Permission) {
			t.Errorf("setting %s without the right: %v", name, err)
		}
	}
	if a := g.d.Account(); a.Usage(resctl.Memory).Limit != 0 || g.d.MaxRun() != 0 || g.d.MaxThreads() != 0 || g.p.Account().Share() != resctl.DefaultShare {
		t.Error("an attribute was changed without the right")
	}
	g.cred.rights = AllRights.Without(OpOpenLink)
	g.cred.rights &^= RightsTo(OpWriteFile)
	if _, err := g.d.OpenFile("f", Appending); !errors.Is(err, errs.Permission) {
		t.Errorf("the other way to write: %v", err)
	}
	if _, err := g.node.OpenLink(LinkSpec{Name: "eth7", Driver: "none"}); !errors.Is(err, errs.Permission) {
		t.Errorf("the other way to open a link: %v", err)
	}
}

// A domain has its parent's credential, or the one it was given; a revoked one takes what was narrowed from it along.
func TestCredentialsNarrowAndRevoke(t *testing.T) {
	g := guard(t)
	sub, err := g.d.NewDomain(DomainSpec{Account: resctl.Spec{Name: "sub"}, Cred: g.cred.Narrow("sub", RightsTo(OpNewDomain, OpNewTask))})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := sub.NewDomain(DomainSpec{Account: resctl.Spec{Name: "leaf"}})
	if err != nil {
		t.Fatal(err)
	}
	if g.d.Cred() != g.cred || leaf.Cred() != sub.Cred() || leaf.Cred().Name() != "c/sub" {
		t.Fatalf("credentials %v %v %v", g.d.Cred(), sub.Cred(), leaf.Cred())
	}
	if _, err := leaf.NewMemPool(MemPoolSpec{Name: "x"}); !errors.Is(err, errs.Permission) {
		t.Errorf("a right that was narrowed away: %v", err)
	}
	if wide := sub.Cred().Narrow("wide", AllRights); wide.May(OpNewMemPool) || !wide.May(OpNewTask) {
		t.Error("narrowing gave rights")
	}
	g.cred.Revoke()
	if _, err := leaf.NewDomain(DomainSpec{Account: resctl.Spec{Name: "x"}}); !errors.Is(err, errs.Permission) {
		t.Errorf("after the first credential was revoked: %v", err)
	}
	if (Capabilities{}).Check(nil, OpNewTask, "x") == nil || (*Cred)(nil).May(OpNewTask) {
		t.Error("no credential is a right")
	}
	if NumOperations > 64 || Operation(200).String() != "operation(200)" || AllRights.Has(200) {
		t.Error("an operation has no room in Rights")
	}
}

// Without a policy all may do all, with whatever credential; but only from above or from inside may a domain be ended.
func TestTerminateBy(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d"}, Cred: NewCred("nothing", 0)})
	if err != nil {
		t.Fatal(err)
	}
	sub, other := r.domain(d, resctl.Spec{Name: "sub"}), r.domain(r.node.Root(), resctl.Spec{Name: "other"})
	if err := sub.TerminateBy(other, nil); !errors.Is(err, errs.Permission) || sub.State() != Active {
		t.Fatalf("by a stranger: %v, %v", err, sub.State())
	}
	if err := d.TerminateBy(sub, nil); !errors.Is(err, errs.Permission) || d.State() != Active {
		t.Fatalf("by one below: %v, %v", err, d.State())
	}
	if err := sub.TerminateBy(d, os.ErrDeadlineExceeded); err != nil {
		t.Fatal(err)
	}
	if err := other.TerminateBy(other, nil); err != nil {
		t.Fatal(err)
	}
	r.settle()
	if sub.State() != Dead || other.State() != Dead || !errors.Is(sub.Reason(), os.ErrDeadlineExceeded) {
		t.Errorf("%v %v %v", sub.State(), other.State(), sub.Reason())
	}
}
