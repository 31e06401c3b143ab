package threads

import (
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/lang"
)

func init() {
	click.Register(click.Class{
		Name: "StaticThreadSched", Ports: "0/0", Processing: "a/a", New: func() click.Element { return &StaticThreadSched{} },
		Doc: click.Doc{
			Group: "threads", Title: "says which threads run which elements",
			Text: "Elements for which nothing is said run in thread 0. Of several words for one element the last counts, also from another StaticThreadSched; a word for a compound is one for every element in it.\n\n" +
				"Elements that are connected run in one thread, but for the two sides of Queue and its kin, other than FrontDropQueue and MixedQueue. Where different threads are asked for such a part of the graph, the first element's word counts and a message names the two. " +
				"A thread that the router does not have, as option --threads says, is taken for thread 0, with a warning.",
			Args:    []string{"<ELEMENT THREAD>...: An element or compound, and the number of a thread from 0."},
			Example: "StaticThreadSched(src 0, d 1); src :: InfiniteSource -> Queue -> d :: Discard;", See: []string{"ScheduleInfo"},
		},
	})
}

// StaticThreadSched assigns threads.
type StaticThreadSched struct{ click.Base }

// Configure implements click.Element.
func (e *StaticThreadSched) Configure(a *click.Args) {
	for _, arg := range a.List() {
		words := lang.SplitWords(arg)
		if len(words) != 2 {
			a.Errorf("expected 'ELEMENT THREAD', not '%s'", arg)
			continue
		}
		n, err := a.ParseThread(words[1])
		switch {
		case err != nil:
			a.Errorf("bad thread '%s'", words[1])
		case !a.Prefer(words[0], n):
			a.Errorf("'%s' does not name an element", words[0])
		}
	}
}
