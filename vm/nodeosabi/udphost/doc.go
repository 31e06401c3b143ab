// Package udphost lets a plain program host guests over UDP: what a guest sees is what it sees on a node (package nodeosabi), though there is no node, no worker and no
// privilege, only one socket. It is for developing execution environments, and for programs that want contained code from the network without the rest.
//
// A [Host] has a socket, an account tree and a root domain; domains below it are accounts. [Host.Root] is what guests are started in. Packets are payloads of
// datagrams: of the channels whose keys match one, that with the most key bits gets it, then the oldest. One goroutine reads the socket and
// evaluates handlers; sending is done by a second one.
//
// What a node has and this has not: other links than the socket, rates of channels in bits, frames (a datagram costs its channel's queue), and fair shares between
// domains, but for the processor time of processes. Traps: close all engines' guests before the engine; [Host.Close] ends the guests of the host.
package udphost
