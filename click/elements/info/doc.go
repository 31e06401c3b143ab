// Package info has the elements that tell others something and see no packets: names for addresses, ports and annotations, shares of
// the worker, alignment, the seed of random numbers, messages.
//
// Who uses it: configurations; package elements imports it. All of them act when they are configured, before other elements are
// (click.PhaseInfo), and what they define holds in their compound and those inside of it. They have no state afterwards. The trap: two definitions of
// one name in one compound are no error, the later one holds.
package info
