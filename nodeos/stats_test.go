package nodeos

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/janos-os/janos/packet"
	"github.com/janos-os/janos/resctl"
)

// One reading has every counter of everything, none of which stands at zero after it was used.
func TestStatsOfEverything(t *testing.T) {
	r := stepped(t, resctl.Spec{})
	d, err := r.node.Root().NewDomain(DomainSpec{Account: resctl.Spec{Name: "d", Share: 7}, Files: FilesSpec{Dir: t.TempDir()}, MaxThreads: 3})
	if err != nil {
		t.Fatal(err)
	}
	objs, _ := objects(r, d)
	below := r.domain(d, resctl.Spec{Name: "below"})
	r.put(below, d, MayUse)
	l, err := r.node.Link("eth0")
	if err != nil {
		t.Fatal(err)
	}
	w := r.node.Worker(0)
	var b packet.Batch
	b.Append(w.Cache().AllocFrom(d.owner, []byte("frame")))
	objs[OutChanDesc].(*OutChan).Send(w, &b)
	frame := func(typ byte) []byte {
		return append([]byte{2, 9, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0x88, typ}, make([]byte, 50)...)
	}
	l.(*pipe).feed(frame(0xb5), frame(0xb6), frame(0xb6), frame(0xb7))
	r.settle()
	r.alloc(objs[HeapDesc].(*Heap), 100)
	if err := objs[RegionDesc].(*Region).Map(0, objs[RegionDesc].(*Region).Size(), ReadWrite); err != nil {
		t.Fatal(err)
	}
	if _, err := objs[FileDesc].(*File).Write([]byte("file")); err != nil {
		t.Fatal(err)
	}
	s := r.node.Stats()
	ds := s.Root.Children[0]
	if s.Name != "t" || len(s.Workers) != 1 || s.Workers[0].Turns == 0 || s.Links["eth0"].Unclaimed != 1 || s.Root.Path != "node" || ds.Path != "node/d" || ds.State != "active" {
		t.Errorf("%+v", s)
	}
	if len(ds.In) != 2 || ds.In[0].Packets != 1 || ds.In[0].Address != "0x88b5" || len(ds.Out) != 1 || ds.Out[0].Packets != 1 || ds.Out[0].Protocol != "eth0" || len(ds.Cut) != 1 || ds.Cut[0].Packets != 2 {
		t.Errorf("in %+v, out %+v, cut %+v", ds.In, ds.Out, ds.Cut)
	}
	if len(ds.Heaps) != 1 || ds.Heaps[0].Blocks != 1 || len(ds.Regions) != 1 || ds.Regions[0].Mapped == 0 || len(ds.Pools) != 1 || ds.Files.Written != 4 || ds.Files.Open != 1 {
		t.Errorf("%+v", ds)
	}
	if ds.Runs.Runs == 0 || len(ds.Tasks) == 0 || ds.Share != 7 || ds.MaxThreads != 3 || ds.Account["memory"].Use == 0 || ds.Account["cpu"].Use == 0 || ds.Account["frames"].Use != 1 {
		t.Errorf("%+v", ds)
	}
	if len(ds.Children) != 1 || ds.Children[0].Descriptors != 1 || len(ds.Account) != int(resctl.NumResources) {
		t.Errorf("%+v", ds.Children)
	}
	if one := d.Stats(); !reflect.DeepEqual(one.In, ds.In) || len(one.Children) != 1 {
		t.Errorf("%+v", one)
	}
	// It can be written down and read again.
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again NodeStats
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if text2, err := json.Marshal(again); err != nil || string(text2) != string(text) {
		t.Errorf("%v: %s, then %s", err, text, text2)
	}
	d.Terminate(nil)
	r.settle()
	if s := d.Stats(); s.State != "dead" || s.Runs.Runs == 0 || len(s.In)+len(s.Heaps)+len(s.Tasks)+len(s.Children)+s.Descriptors != 0 {
		t.Errorf("dead: %+v", s)
	}
}
