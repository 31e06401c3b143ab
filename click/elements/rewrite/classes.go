package rewrite

import "github.com/janos-os/janos/click"

// The text about specifications is IPRewriter's; the others refer to it.
const specText = "Each input has an INPUTSPEC, which decides about packets of unknown flows:\n\n" +
	"- `drop` (or `discard`): they are dropped.\n" +
	"- `pass [OUTPUT]` (or `nochange`): they go to OUTPUT (default 0) as they are, and no mapping is made. Packets that have no flow, such as fragments and other protocols, go there too; every other INPUTSPEC drops them.\n" +
	"- `keep FOUTPUT ROUTPUT`: a mapping is made that changes nothing. The flow's packets go to FOUTPUT, those of the other direction to ROUTPUT.\n" +
	"- `pattern SADDR SPORT DADDR DPORT FOUTPUT ROUTPUT`: a mapping is made that sets these fields; a dash leaves one as it is. Packets of the other direction get the original fields back. SPORT may be a range LOW-HIGH: " +
	"the packet's own port is taken if it is in the range and no other flow to the same destination has it, else the first free one from a random place on. With `#` behind the range ports are taken in turn, with `?` always at random. " +
	"If none is free the packet is dropped.\n" +
	"- `pattern NAME FOUTPUT ROUTPUT`: a pattern of an IPRewriterPatterns element.\n" +
	"- `ELEMENT`: a mapper such as RoundRobinIPMapper decides."

const addrText = "SADDR may be a range LOW-HIGH or a prefix ADDR/LENGTH (without its first and last address): an address is chosen at random, or with `#` behind it in turn, that leads to no confusion with other flows; if there is none the packet is dropped."

const timeText = "Flows that have not been used for their timeout are removed every REAP_INTERVAL; until then a packet revives them. When the table is full, a new flow takes the place of the one that would time out next, " +
	"unless all have had a packet within their guarantee; then the new flow's packet is dropped."

var commonArgs = []string{
	"MAPPING_CAPACITY: Most flows, or the name of a rewriter whose capacity is shared; default 1048576. CAPACITY is the same.", "CAPACITY: See MAPPING_CAPACITY.",
	"REAP_INTERVAL: How often flows that have timed out are removed; default 15min; 0 is never.",
	"REPLY_ANNO: An annotation of one byte (PAINT, ICMP_PARAMPROB, FIX_IP_SRC, or an offset as Paint takes one): packets of the reply direction get the value that the flow's first packet had.",
}

const dstAnnoArg = "DST_ANNO: Whether the destination annotation is set to the new destination address; default true."

var generalTimes = []string{"TIMEOUT: How long flows live after their last packet; default 5min.", "GUARANTEE: How long flows cannot be displaced after a packet; default 5s."}

var (
	tcpTimes = []string{
		"TCP_TIMEOUT: For connections with payload in both directions; default 24h.", "TCP_DONE_TIMEOUT: After a reset, or when both sides have finished; default 4min.",
		"TCP_NODATA_TIMEOUT: For connections without payload in one or both directions; default 5min.", "TCP_GUARANTEE: How long connections cannot be displaced after a packet; default 5s.",
	}
	udpTimes = []string{
		"UDP_TIMEOUT: How long flows live after their last packet; default 5min.", "UDP_STREAMING_TIMEOUT: For flows of three packets or more and of both directions; default UDP_TIMEOUT.",
		"UDP_GUARANTEE: How long flows cannot be displaced after a packet; default 5s.",
	}
)

// handlersOf lists the handlers of a rewriter; key are the words that name a flow.
func handlersOf(key, newKey string, protocols bool) []string {
	list := []string{
		"table_size (r): Flows in the table.", "nmappings (r): Like table_size.", "size (r): Flows of all rewriters that share the capacity.",
		"capacity (rw): Most flows. If there are more than a smaller one allows, those that would time out next end.",
		"mapping_failures (r): Packets that should have made a flow and could not.", "clear (w): Ends all flows.",
		"patterns (r): What the inputs do, a line each; behind a pattern stands in brackets how many flows it has made that are still there.",
		"pattern0 (rw): The same of input 0, and of the other inputs likewise. When written, an INPUTSPEC; the flows that the old one made end.",
		"add (w): Makes a flow: " + key + " " + newKey + " FOUTPUT ROUTPUT. A dash leaves a new field as it was. With the word permanent behind it, it does not time out.",
		"remove (w): Ends the flow of either direction's " + key + ".", "drops (r): Packets dropped.",
	}
	const table, lookup = "The mappings, two lines for each flow: fields => new fields, both outputs with a star at the one that holds, the input that made it, seconds until it times out.", "What becomes of "
	if protocols {
		return append(list, "tcp_table, udp_table, tcp_mappings, udp_mappings (r): "+table, "tcp_lookup, udp_lookup (r): "+lookup+"SADDR SPORT DADDR DPORT, or nothing.")
	}
	return append(list, "table, mappings (r): "+table, "lookup (r): "+lookup+key+", or nothing.")
}

func concat(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func init() {
	const (
		ports4, newPorts4 = "SADDR SPORT DADDR DPORT", "NEWSADDR NEWSPORT NEWDADDR NEWDPORT"
		spec              = "<INPUTSPEC>...: What to do with packets of unknown flows, one for each input."
		noFrag            = "Packets that cannot be judged (bad headers, second and later fragments, other protocols) are dropped unless their input passes. "
	)
	for _, c := range []struct {
		name, title, text, example string
		kind                       kind
		args                       []string
		handlers                   []string
		see                        []string
	}{
		{"IPRewriter", "translates addresses and ports of TCP and UDP packets",
			"This is network address and port translation. A packet of a known flow is changed and leaves by the output that its mapping names, whatever input it came in by. Checksums are updated.\n\n" + specText + "\n\n" + timeText + " " + noFrag,
			"rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); in -> [0] rw [0] -> out; back -> [1] rw [1] -> home;", flows,
			concat([]string{spec}, tcpTimes, udpTimes, []string{"TIMEOUT: See TCP_TIMEOUT.", "GUARANTEE: See TCP_GUARANTEE."}, commonArgs, []string{dstAnnoArg}),
			handlersOf("PROTO (tcp or udp) "+ports4, newPorts4, true), []string{"TCPRewriter", "UDPRewriter", "IPAddrRewriter", "IPAddrPairRewriter", "IPRewriterPatterns", "RoundRobinIPMapper", "ICMPRewriter"}},
		{"TCPRewriter", "translates addresses, ports and sequence numbers of TCP packets",
			"Like IPRewriter, for TCP alone. Elements before it that change the length of the stream, such as FTPPortMapper, have it correct sequence numbers, acknowledgements and selective acknowledgements from there on.",
			"rw :: TCPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); in -> [0] rw [0] -> out; back -> [1] rw [1] -> home;", tcpFlows,
			concat([]string{spec}, tcpTimes, []string{"TIMEOUT: See TCP_TIMEOUT.", "GUARANTEE: See TCP_GUARANTEE."}, commonArgs, []string{dstAnnoArg}),
			handlersOf(ports4, newPorts4, false), []string{"IPRewriter", "FTPPortMapper"}},
		{"UDPRewriter", "translates addresses and ports of UDP packets",
			"Like IPRewriter, but mappings do not depend on the protocol and there is one timeout. It also rewrites TCP; a TCP and a UDP flow of the same addresses and ports are one flow to it.",
			"rw :: UDPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1, drop); in -> [0] rw [0] -> out; back -> [1] rw [1] -> home;", anyFlows,
			concat([]string{spec}, generalTimes, []string{"STREAMING_TIMEOUT: For flows of three packets or more and of both directions; default TIMEOUT.", "UDP_TIMEOUT: See TIMEOUT.", "UDP_GUARANTEE: See GUARANTEE.", "UDP_STREAMING_TIMEOUT: See STREAMING_TIMEOUT."}, commonArgs, []string{dstAnnoArg}),
			handlersOf(ports4, newPorts4, false), []string{"IPRewriter"}},
		{"IPAddrRewriter", "translates source addresses",
			"This is address translation without ports, for any protocol. A mapping holds for all packets from one address and for all packets to the address that it was given. The INPUTSPECs are those of IPRewriter, but a pattern is `SADDR -`. " + addrText + " " + timeText,
			"rw :: IPAddrRewriter(pattern 1.0.0.1-1.0.0.20 - 0 1, drop); in -> [0] rw [0] -> out; back -> [1] rw [1] -> home;", addrs,
			concat([]string{spec}, generalTimes, commonArgs), handlersOf("ADDR", "NEWADDR", false), []string{"IPRewriter", "IPAddrPairRewriter"}},
		{"IPAddrPairRewriter", "translates pairs of addresses",
			"Like IPAddrRewriter, but a mapping holds for packets between two addresses. A pattern is `SADDR DADDR`, and either may be a dash. " + addrText,
			"rw :: IPAddrPairRewriter(pattern 1.0.0.1-1.0.0.20 - 0 1, drop); in -> [0] rw [0] -> out; back -> [1] rw [1] -> home;", pairs,
			concat([]string{spec}, generalTimes, commonArgs), handlersOf("SADDR DADDR", "NEWSADDR NEWDADDR", false), []string{"IPRewriter", "IPAddrRewriter"}},
		{"ICMPPingRewriter", "translates addresses and identifiers of pings",
			"Echo requests make mappings by source, destination and identifier, and replies to what they became are translated back. The INPUTSPECs are those of IPRewriter, but a pattern is `SADDR DADDR` or " +
				"`SADDR DADDR IDENT`, where IDENT is chosen as a source port is. Replies of no mapping and other packets are dropped unless their input passes. " + timeText,
			"rw :: ICMPPingRewriter(pattern 1.0.0.1 - 0-65535 0 1, drop); in -> [0] rw [0] -> out; back -> [1] rw [1] -> home;", pings,
			concat([]string{spec}, generalTimes, commonArgs, []string{dstAnnoArg}), handlersOf("SADDR DADDR IDENT", "NEWSADDR NEWDADDR NEWIDENT", false), []string{"IPRewriter", "ICMPRewriter"}},
	} {
		click.Register(click.Class{
			Name: c.name, Ports: "1-/1-", Processing: "h", New: func() click.Element { return &Rewriter{rewriter{kind: c.kind}} },
			Doc: click.Doc{Group: "rewrite", Title: c.title, Text: c.text, Args: c.args, Handlers: c.handlers, Example: c.example, See: c.see},
		})
	}
}

// Rewriter is each of the rewriters that hold flows.
type Rewriter struct{ rewriter }
