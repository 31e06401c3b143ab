// Package probe finds out what this machine offers, by trying it. `janos doctor` prints the
// answers; tests ask before they decide to need a feature.
//
// An answer is yes, no or inconclusive, with the reason and, for the others than yes, what would help. No is for what the kernel refuses as unknown,
// turned off or not allowed. What failed otherwise, for want of memory or of something that only the probe needs, is inconclusive, and so is a
// probe that does not answer. A probe makes what it tries in a network namespace of its own where it can, and takes everything away again.
//
// The names of rows are keys that programs may rely on; rows of the group interfaces are named after the machine's.
package probe
