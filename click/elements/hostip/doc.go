// Package hostip has the elements that route as the host does: by the routes and neighbours of its kernel, which package channels/host
// follows. Importing it registers their classes.
//
// The daemon gives its graphs the table that it keeps, as an [Env] under the name [Key] in click.Env.Values. Where there is none, as in a graph of cmd/click,
// the first element that needs a table makes one for the network namespace of the thread that makes the router, and it ends with the element.
//
// Trap: neighbours are found by the host's own ARP and neighbour discovery, so the graph must leave those packets to the host: claim
// what it handles (FromChannel with IP protocols), not whole interfaces (FromDevice).
package hostip
