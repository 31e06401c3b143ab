// Package control is the API of a running node: HTTP with JSON over a unix socket. Commands (`janos show`, `janos
// capsule send`), package lab and experimenters' scripts use it; curl --unix-socket does too.
//
// [Serve] offers a node.Node on a path, and [Dial] gives a [Client] of one. Paths begin with /v1; what they take
// and return are the exported types of this package and of the layers they come from. An error is a JSON object with
// its kind (errs.Kind, a stable number), the kind's name and a text, under the HTTP status that fits.
//
//	GET  /v1/status                 who the node is, its links, domains, workers
//	GET  /v1/links                  its links: what was tried, what runs, what is wrong
//	GET  /v1/domains                its domains: attributes, runs, files
//	GET  /v1/pools                  its memory pools
//	GET  /v1/config                 its node file, as it is now
//	POST /v1/reload                 another node file, by its path, on trial if it is to be confirmed
//	POST /v1/confirm                keep the start or reload that is on trial
//	GET  /v1/accounts               the account tree
//	GET  /v1/routes                 neighbours, nodes, prefixes, database
//	GET  /v1/ants                   counters, protocols, kills
//	GET  /v1/graph                  the configuration that runs, as text
//	GET  /v1/graph/runtime          what its elements do in each interval (every, count), as JSON lines
//	GET  /v1/graph/trace            the way of the next packets (count, from), as JSON lines
//	GET  /v1/graph/capture          the packets at a place (place, count, snap), in the format pcapng
//	GET  /v1/handler?name=E.H       read a handler; POST with the value as body writes it
//	GET  /v1/events?since=N         events as JSON lines; &follow=1 goes on until the client leaves
//	GET  /v1/ants/recordings        evaluations, to be replayed
//	POST /v1/ants/record            have the next evaluations of a module recorded
//	POST /v1/ants/register          a bundle, given by the path of its description
//	POST /v1/ants/send              capsules
//	POST /v1/ants/probe             capsules with numbers, and when they came back
//	GET  /v1/ants/receive?port=N    what capsules deliver to a port, as JSON lines
//
// The socket is created with mode 0600: whoever may open it controls the node. It is removed by Close, and a
// stale one that nobody answers on is replaced. A client that receives slower than the network delivers is told in
// [Delivery] how many it lost.
package control
