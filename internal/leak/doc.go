// Package leak fails a package whose tests leave something behind.
//
// TestMain calls Main. It runs the tests, and then looks for goroutines, for open files (of which BPF programs, maps and attachments are
// some), for child processes, and for network namespaces and links whose names begin as those of the tests do. What other packages' tests make at the same time
// is not seen: everything but names belongs to the process, and names have the package's own beginning.
//
// Trap: a test that makes things for the whole run, in an init function or on first use, makes them before Main counts, or
// tells how many files that takes with Spare.
package leak
