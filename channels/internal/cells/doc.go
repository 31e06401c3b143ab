// Package cells has the memory that a node's in-channels share with drivers' programs in the kernel, and the part of such a program that keeps a channel
// to its rate. Drivers packet and xdp use it; package nodeos says what the words of a cell mean ([nodeos.Cells]).
//
// A link calls [Of] when it opens and Release after its programs are gone from the interface. All links of a node have the same cells, whatever their
// driver. The last Release forgets them.
//
// The cells of a node take 2 MiB.
package cells
