// Package netns makes, enters and removes Linux network namespaces that have a name.
//
// Package lab uses it, one namespace per node. A namespace is kept alive by a bind mount of its handle on a file
// of a directory (/run/netns for root, so that `ip netns` sees it; any directory of the caller's mount
// namespace otherwise) and by nothing else: it survives the process that made it until [Delete].
//
// The life of a [Namespace]: [Create] makes the namespace and its file and returns it open; [Open] returns one that
// exists; [Namespace.Do] runs a function inside; [Namespace.Close] gives the handle up, the namespace
// stays; [Delete] removes the name.
//
// Traps. A namespace belongs to an OS thread, not to a goroutine: whatever must happen inside has to happen in
// the function given to Do, on the goroutine that it is called on, and goroutines which that function starts
// are outside. A socket stays in the namespace it was opened in, wherever it is used. The kernel dismantles a
// namespace some time after its last user has left, so who needs its links to be gone deletes them before.
package netns
