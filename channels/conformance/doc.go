// Package conformance is the test suite that every link driver passes. A driver's test describes with a [Fixture] how
// to open a link and how to reach its other side, and calls [Run].
//
// The suite checks what package nodeos promises of links: a claimed packet reaches the channel whose rule it matches,
// once, and no other; frames go out as they were given, in order; rules change under traffic without loss to those
// that stay; a full ring is counted; closing gives everything back. On Ethernets it adds tags, options, fragments, sizes and
// the annotations. What a host's stack beside the link sees is for the driver's own tests.
package conformance
