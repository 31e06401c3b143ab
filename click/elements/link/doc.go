// Package link has elements that behave like a link of a network: delay, loss, rate and queue, for laboratories. Importing it
// registers their classes; each element lives as long as its router. What happens to a packet is decided by package linkmodel, as
// on the links of a laboratory.
//
// Trap: the times are those of the worker's runs. Under a virtual clock they are exact; under a real one a packet leaves when the
// worker's timer fires.
package link
