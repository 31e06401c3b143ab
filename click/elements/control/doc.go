// Package control has the elements by which a graph is controlled from inside: scripts, which read and write handlers, wait, and decide when the
// router stops. Importing it registers their classes; each element lives as long as its router.
//
// A script's functions that reach the host (cat, catq, kill, print into files, signals) work only where click.Env.Host says that the graph
// speaks for the process, as under cmd/click.
//
// Trap: a script runs on the router's worker. It gives up after 1,000 jumps without a wait, so that it cannot hold the worker for ever.
package control
