package ethernet

import "github.com/janos-os/janos/click"

const (
	entryArg      = "ENTRY_CAPACITY: Most addresses that are known or asked for; default 0, which means 65536, the most there can be."
	perEntryArg   = "ENTRY_PACKET_CAPACITY: Most packets held for one address; default 0, no limit but CAPACITY."
	capacityArg   = "CAPACITY: Most packets held in all; default 2048. 0 is no limit."
	slimArg       = "CAPACITY_SLIM_FACTOR: When CAPACITY is exceeded, packets of the oldest entries are dropped until a fraction of CAPACITY is free, one in so many; default 2."
	arpTimeoutArg = "TIMEOUT: How long an answer holds; default 300s. 0 is for ever."
	tableHandler  = "table (r): A line for each address, the highest first: address, 1 if it is known and else 0, Ethernet address, seconds since the entry was made or last answered."
	insertHandler = "insert (w): 'IP ETHER': as if ETHER had answered for IP now."
	deleteHandler = "delete (w): An address to forget."
	clearHandler  = "clear (w): Forgets all."
	countHandler  = "count (r): Number of entries."
	lengthHandler = "length (r): Number of packets held."
)

func init() {
	click.Register(click.Class{
		Name: "ARPTable", Ports: "0/0", Processing: "a/a", New: func() click.Element { return &ARPTable{} },
		Doc: click.Doc{
			Group: "ethernet", Title: "is a table of IPv4 and Ethernet addresses that several elements use",
			Text: "Only ARPQuerier elements need one, and only if they are to share it: they name it with TABLE. It also holds the packets that wait for an answer, for five seconds at most. " +
				"At a hot swap a table takes over what a table of the same name holds.",
			Args:     []string{capacityArg, entryArg, perEntryArg, slimArg, arpTimeoutArg},
			Handlers: []string{tableHandler, "drops (r): Packets dropped that were held.", insertHandler, deleteHandler, clearHandler, countHandler, lengthHandler},
			Example:  "t :: ARPTable(TIMEOUT 60s); q0 :: ARPQuerier(10.0.0.1, 2:0:0:0:0:1, TABLE t); q1 :: ARPQuerier(10.0.0.1, 2:0:0:0:0:2, TABLE t);", See: []string{"ARPQuerier"},
		},
	})
}

// Causes of drops of packets that are held.
const (
	dropFull = iota
	dropNoAnswer
	heldCauses
)

// ARPTable is a table that is an element of its own.
type ARPTable struct {
	click.Base
	t table[[4]byte]
}

// Configure implements click.Element.
func (e *ARPTable) Configure(a *click.Args) {
	e.t.init(&e.Base)
	a.Parse(e.t.params()...)
}

// Initialize implements click.Initializer.
func (e *ARPTable) Initialize() error {
	e.t.start()
	return nil
}

// Cleanup implements click.Cleaner.
func (e *ARPTable) Cleanup() { e.t.clear() }

// Inherit implements click.Inheritor.
func (e *ARPTable) Inherit(old click.Element) error {
	if o, ok := old.(*ARPTable); ok {
		e.t.inherit(&o.t)
		e.CountDrops(int(o.Drops()))
	}
	return nil
}

// AddHandlers implements click.HandlerAdder.
func (e *ARPTable) AddHandlers(h *click.Handlers) { e.t.addHandlers(h, nil) }
