// Package nth has an element of its own, in a module outside of Janos: Nth(N) sends every N-th packet to output 1. Importing it registers the class.
//
// docs/elements-howto.md goes through it line by line.
package nth
