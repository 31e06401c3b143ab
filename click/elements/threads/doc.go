// Package threads has elements that say which thread of a router runs which elements.
//
// Who uses it: configurations for several workers; package elements imports it. The elements act while the configuration is read and do nothing
// afterwards, so they have no life to describe. The trap: what is connected without a queue between it is of one thread, whatever
// was asked for; a message says so.
package threads
