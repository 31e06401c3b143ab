// Package device has the elements at the edge of a graph: channels of the node's links, which FromDevice and ToDevice are
// the familiar names of. Importing it registers their classes. A channel belongs to the router's domain and ends with
// the router.
//
// Trap: a channel claims its packets, so that the host's own stack does not see them. FromDevice claims every frame of a
// link. The link must be open on the node when the router is made.
package device
