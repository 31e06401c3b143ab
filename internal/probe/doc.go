// Package probe finds out what this machine offers, by trying it. `janos doctor` prints the
// answers; tests ask before they decide to need a feature.
//
// An answer is yes, no or inconclusive, with the reason and, for no, what would help. A probe makes
// what it tries in a network namespace of its own where it can, and takes everything away again.
package probe
