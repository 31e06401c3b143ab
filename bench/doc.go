// Package bench measures the project's figures so that they can be defended: the same scenarios on every machine,
// interleaved, with spread, beside a yardstick that was measured in the same run.
//
// `janos bench` calls it. A [Scenario] is inert and registered in this package; [Run] opens those that were
// chosen, as a [Trial] each, measures them in rounds (first one for warming up, whose samples are thrown away, then at least five),
// in every round the yardstick and each trial in turn, closes them, and returns a [Report]. [Compare] sets two
// reports beside each other.
//
// How time is taken. Costs are processor time of the whole process (all threads, the garbage collector too),
// not time on the clock, for the machine may be shared; what the other processes had meanwhile is in the report. Scenarios with
// a kernel part say whose processor time they count. Ratios are computed within a round, where both sides met the
// same conditions, and then summarized like every other metric.
//
// What a scenario measures, and what is included, is its Text. A figure that was bounded by the generator of the load
// and not by what is measured is marked so, printed as "at least", and not publishable. A round in which others had more than a tenth of the
// machine is measured again, within bounds; where one had to be kept, rates and delays are not publishable either.
//
// How links are loaded. A tester has a generator (outPort: AF_PACKET, AF_XDP, or an XDP program on live frames, which paces itself) and a sink (inPort: an
// AF_PACKET ring, or an eBPF program), joined by the stamp in each frame, which ledger.go describes. A device is what forwards between them, in namespaces of its own.
//
// The traps: a scenario must not let the measured code see less work than its text says (packets are distinct and
// writable, results are checked); and all trials are open at once, so one that is not in its turn must use no processor time.
package bench
