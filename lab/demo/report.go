package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is what the demo found, as demo.json has it. Times are nanoseconds.
type Report struct {
	OK       bool     `json:"ok"`
	Failures []string `json:"failures"`
	Form     string   `json:"form"` // of the network: root, user namespace
	LeftOut  []string `json:"left_out,omitempty"`

	Network   Network   `json:"network"`
	Ping      Ping      `json:"ping"`
	Multicast Multicast `json:"multicast"`
	Failure   Failure   `json:"failure"`
	Traffic   Traffic   `json:"traffic"`
	Attack    Attack    `json:"attack"`
	Checks    []Check   `json:"checks"`
	Took      Span      `json:"took_ns"`
}

// Span is a time span that prints itself for people and is a number in JSON.
type Span = time.Duration

// Network is what was built.
type Network struct {
	Hosts    int  `json:"hosts"`
	Routers  int  `json:"routers"`
	Links    int  `json:"links"`
	UpTook   Span `json:"up_ns"`        // namespaces, links and node processes
	RoutedIn Span `json:"routed_in_ns"` // after that, until every node knew the way to every other
}

// Quantiles describe round-trip times.
type Quantiles struct {
	Sent     int  `json:"sent"`
	Received int  `json:"received"`
	Lost     int  `json:"lost"`
	Min      Span `json:"min_ns"`
	Median   Span `json:"median_ns"`
	P99      Span `json:"p99_ns"`
	Max      Span `json:"max_ns"`
}

func quantiles(sent int, rtts []time.Duration) Quantiles {
	var got []time.Duration
	for _, d := range rtts {
		if d >= 0 {
			got = append(got, d)
		}
	}
	q := Quantiles{Sent: sent, Received: len(got), Lost: sent - len(got)}
	if len(got) == 0 {
		return q
	}
	slices.Sort(got)
	at := func(f float64) time.Duration { return got[min(len(got)-1, int(f*float64(len(got))))] }
	q.Min, q.Median, q.P99, q.Max = got[0], at(0.5), at(0.99), got[len(got)-1]
	return q
}

func (q Quantiles) String() string {
	return fmt.Sprintf("%d of %d, lost %d, rtt min %s median %s p99 %s max %s",
		q.Received, q.Sent, q.Lost, short(q.Min), short(q.Median), short(q.P99), short(q.Max))
}

// Ping is what capsules from the source to a receiver and back found.
type Ping struct {
	From   string    `json:"from"`
	To     string    `json:"to"`
	Cold   Quantiles `json:"cold"` // the first ones, whose code nobody on the way knew
	Warm   Quantiles `json:"warm"`
	Loads  []Load    `json:"loads"`      // on first use
	Second int       `json:"loads_warm"` // on second use
}

// Load is one node's loading of a protocol's code.
type Load struct {
	Node   string `json:"node"`
	From   string `json:"from"` // the previous hop, which was asked
	Bytes  int    `json:"bytes"`
	Chunks int    `json:"chunks"`
	Took   Span   `json:"took_ns"`
}

// Multicast is what subscribing and sending to a group found.
type Multicast struct {
	Source    string         `json:"source"`
	Receivers []string       `json:"receivers"`
	Sent      int            `json:"sent"`
	Delivered map[string]int `json:"delivered"` // by receiver
	Copies    []Copies       `json:"copies"`    // by link that carried any
}

// Copies are the capsules of a phase that crossed a link in one direction.
type Copies struct {
	Link  string `json:"link"`
	From  string `json:"from"`
	To    string `json:"to"`
	Count int    `json:"count"`
}

// Hop is a line of a trace.
type Hop struct {
	Node string `json:"node"`
	At   Span   `json:"at_ns"` // after the first
}

// Failure is what the death of a router did.
type Failure struct {
	Killed     string    `json:"killed"`
	Before     []Hop     `json:"before"`
	After      []Hop     `json:"after"`
	Noticed    []Notice  `json:"noticed"`        // by its neighbours
	Moved      Span      `json:"moved_ns"`       // from the kill until a trace went another way
	Pings      Quantiles `json:"pings"`          // sent across the kill
	LossWindow Span      `json:"loss_window_ns"` // of pings lost in a row
	LostBeside int       `json:"lost_beside"`    // outside of that window
	UDP        Stream    `json:"udp"`
}

// Notice is when a neighbour of the router that died noticed.
type Notice struct {
	Node  string `json:"node"`
	After Span   `json:"after_ns"` // the kill
	How   string `json:"how"`
}

// Stream is a UDP stream through the hosts' own stacks.
type Stream struct {
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	Gap      Span   `json:"gap_ns"` // longest time without a datagram
}

// Traffic is the hosts' ordinary traffic.
type Traffic struct {
	ICMP    Quantiles `json:"icmp"`
	UDP     Stream    `json:"udp"`
	TCP     TCP       `json:"tcp"`
	Session Session   `json:"session"`
}

// TCP is a transfer.
type TCP struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Sent    string  `json:"sha256_sent"`
	Got     string  `json:"sha256_received"`
}

// Session is a TCP session to a router's own stack, which lasts from before the kill until after the attack.
type Session struct {
	Router  string `json:"router"`
	Lines   int    `json:"lines"`
	Echoed  int    `json:"echoed"`
	Longest Span   `json:"longest_ns"` // wait for an echo
}

// Attack is what hostile capsules did.
type Attack struct {
	Kinds   []Hostile     `json:"kinds"`
	Quiet   Quantiles     `json:"quiet"`     // before, over the same path
	Pings   Quantiles     `json:"pings"`     // meanwhile
	Ratio   float64       `json:"p99_ratio"` // to the quiet p99
	Kills   []NodeKills   `json:"kills"`
	Refused []NodeRefused `json:"refused"`
	Left    []string      `json:"left"` // accounts of hostile domains that are not at zero
}

// Hostile is one kind of attack.
type Hostile struct {
	Name string `json:"name"`
	Sent int    `json:"sent"`
}

// NodeKills are a node's kills by protocol and reason.
type NodeKills struct {
	Node     string `json:"node"`
	Protocol string `json:"protocol"`
	Reason   string `json:"reason"`
	Count    int    `json:"count"`
}

// NodeRefused are capsules that a node refused without running them, because it had ended their protocol for its faults.
type NodeRefused struct {
	Node  string `json:"node"`
	Count int    `json:"count"`
}

// Check is a comparison of two independent counts.
type Check struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"`
}

// printer writes the report for people as it comes into being.
type printer struct {
	w        io.Writer
	terminal bool
	busy     string
}

// phase says what begins.
func (p *printer) phase(format string, args ...any) {
	p.done()
	fmt.Fprintf(p.w, "\n== "+format+"\n", args...)
}

// line prints a finding.
func (p *printer) line(format string, args ...any) {
	p.done()
	fmt.Fprintf(p.w, "   "+format+"\n", args...)
}

// progress says what is being waited for; it is seen only on a terminal.
func (p *printer) progress(format string, args ...any) {
	if !p.terminal {
		return
	}
	p.done()
	p.busy = fmt.Sprintf("   "+format+" ...", args...)
	fmt.Fprint(p.w, p.busy)
}

func (p *printer) done() {
	if p.busy != "" {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", len(p.busy)))
		p.busy = ""
	}
}

// short prints a time span with three significant digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}
