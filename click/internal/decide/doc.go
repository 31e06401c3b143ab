// Package decide has decision programs over packets: graphs of tests on masked words, into which classifier
// elements compile their patterns. An [Expr] is a condition, [Compile] makes a [Program] of an
// ordered list of conditions and results, and [Program.Match] walks it. A Program never changes, so any number of
// workers may use one.
//
// Listings are those of Click's classifiers, and programs are optimized as far as theirs, so that both can be compared.
//
// The trap: a test on bytes that the packet does not have fails, also beneath a negation the test itself fails and
// the negation then holds; conditions that must not hold for short packets are made with [Opposite].
package decide
