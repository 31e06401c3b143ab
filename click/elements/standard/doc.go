// Package standard has the elements that know no protocol: sources, sinks, queues, schedulers, shapers,
// classifiers by bytes, counters. Importing it registers their classes; nothing else of it is of use to
// others. One element lives in one file, and the life of each is that of its router.
//
// Trap: a pull element that yields nothing for a while must say so with an empty notifier, or those
// that pull from it have to poll.
package standard
