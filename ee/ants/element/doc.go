// Package element makes the ANTS execution environment an element of Click graphs: class ANTS.
//
// It is imported for its registration with package click. Whoever makes a router with such an element puts the
// node's *ants.EE into click.Env.Values under the name [EE]. The element lives as long as its router: it takes the ports of the EE
// in Initialize and gives them back in Cleanup, so that a graph can be replaced while protocols live on.
//
// The trap: a link has one port, so two graphs of one node cannot both have an ANTS element for it.
package element
