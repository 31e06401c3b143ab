package ip

// Protocols are the IP protocols that have names.
var Protocols = map[string]int{
	"icmp": 1, "igmp": 2, "ggp": 3, "ipip": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9, "pup": 12, "udp": 17, "hmp": 20, "idp": 22, "rdp": 27, "dccp": 33, "ipv6": 41, "idrp": 45,
	"rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "encap": 98, "pim": 103, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "udplite": 136,
}

// ICMPTypes are the types of ICMP messages that have names (RFC 792, 950, 1256).
var ICMPTypes = map[string]int{
	"echo-reply": 0, "unreachable": 3, "sourcequench": 4, "redirect": 5, "echo": 8, "routeradvert": 9, "routersolicit": 10, "timeexceeded": 11,
	"parameterproblem": 12, "timestamp": 13, "timestamp-reply": 14, "inforeq": 15, "inforeq-reply": 16, "maskreq": 17, "maskreq-reply": 18,
}

// ICMPCodes are the codes that have names, by type.
var ICMPCodes = map[int]map[string]int{
	3: {
		"net": 0, "host": 1, "protocol": 2, "port": 3, "needfrag": 4, "srcroutefail": 5, "netunknown": 6, "hostunknown": 7, "isolated": 8, "netprohibited": 9, "hostprohibited": 10,
		"tosnet": 11, "toshost": 12, "filterprohibited": 13, "hostprecedence": 14, "precedencecutoff": 15,
	},
	5:  {"net": 0, "host": 1, "tosnet": 2, "toshost": 3},
	11: {"transit": 0, "reassembly": 1},
	12: {"erroratptr": 0, "missingopt": 1, "length": 2},
}

// Tables from numbers to names, which printing uses for each packet.
var (
	shortNames = map[byte]string{1: "icmp", 6: "tcp", 17: "udp"}
	typeNames  = inverse(ICMPTypes)
	codeNames  = map[int]map[int]string{}
)

func init() {
	for t, codes := range ICMPCodes {
		codeNames[t] = inverse(codes)
	}
}

func inverse(m map[string]int) map[int]string {
	r := make(map[int]string, len(m))
	for name, n := range m {
		r[n] = name
	}
	return r
}
