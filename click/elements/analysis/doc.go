// Package analysis has the elements that read, write and examine traces of packets: captures, summary dumps, which are text with a line for each
// packet, timestamps, and aggregates, which are numbers for flows, addresses or lengths. Importing it registers their classes; each element lives as long as its router.
//
// The format is the IPSummaryDump of Click (file version 1.3), text and binary. A dump is read as hostile input: lines, options and lengths are
// bounded, and what cannot be understood is reported with its line and left out.
//
// Files belong to the host: the elements open them only where click.Env.Host says that the graph speaks for the process.
package analysis
