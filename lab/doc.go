// Package lab builds test networks from one declaration and plays them.
//
// A topology file says which hosts and routers there are, how they are linked, with which delay, loss and rate, and what happens when.
// [Load] reads one into a [Topology], which programs may also fill in themselves; [Topology.Plan] decides everything that the
// file left open (names and addresses of interfaces, MAC addresses, routes) and returns an inert [Plan]. The plan is the same for
// every form in which the network is then built, and the same again in the next run.
//
// On Linux [Up] builds the plan from the kernel's own parts: a network namespace per node, a pair of virtual links per link with
// package wire between them, which applies the impairments to all traffic, the kernel's included. The result is a [Lab]. It is owned by the
// process that called Up; [Lab.Down] takes everything away. If the owner is killed, its processes die with it and the next Up, or
// [Sweep], removes the rest: everything is written down in a state directory before it is made. Without root the same happens in
// a user namespace of our own ([InUserNamespace]; [BestForm] tells what this machine allows).
//
// Package lab/nodes puts our nodes into it, in either form. Callers: cmd/janos, the demonstration, tests, bench. Traps: addresses that the file does not give follow from the order of nodes and links, so
// inserting a link in the middle renumbers those after it. Links are quiet unless somebody sends: neighbours are entered in the
// kernel's tables by the lab, there is no ARP and no IPv6 autoconfiguration. Routers get no routes beyond their links unless the file says
// "routes: static"; finding the others is the work of the nodes.
package lab
