// Package script reads and writes the golden scripts under testdata: text archives in the
// txtar form, a comment followed by files that begin with a line "-- NAME --". Only
// tests use it. An [Archive] lives as long as one test; Write puts it back when
// expectations are rewritten.
package script
