// Package pprofile reads and writes profiles in the format of pprof (profile.proto of github.com/google/pprof, gzipped), as much of it as profiles
// of the Go runtime use: stacks of named functions with lines, and values.
//
// janos capsule profile calls it, to put the functions of guests beside those of Go. A [Profile] is plain data; [Parse] bounds what it reads.
//
// The trap to know: addresses, mappings and labels are not kept.
package pprofile
