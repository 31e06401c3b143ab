// Package resctl is the one place where resources are counted: a tree of accounts for a
// node, and the stride scheduler that divides processor time along the same tree.
//
// An [Account] has, for each [Resource], a use, a limit, a reserve and a number of
// refusals. Resources are of two kinds. Held ones (memory, frames) go up and down, and
// the limit bounds what is held at one moment. Consumed ones (processor time, fuel, code loads)
// only go up, and the limit bounds what is consumed within the account's window.
// Whatever an account uses, its ancestors use as well; a request is refused before the
// act, and the refusal is counted at the account whose limit said no.
//
// A reserve is a promise: held resources are set aside at the parent when the account is
// created, and creation is refused when they are not there; reserved processor
// time is served before any share.
//
// Life of an account: [NewTree] or [Account.NewChild] makes it, [Account.Close] ends it and
// refuses while anything is still held, naming it. A domain (package nodeos) has exactly one.
//
// Workers do not touch accounts on the packet path. Each uses its [Meter], which keeps a
// small credit that has already been debited from the tree, so that the limit holds
// strictly and the fast path is an addition; [Meter.Fold] gives the credit back once a
// turn. Everything on Account is safe for concurrent use; a Meter belongs to its worker.
package resctl
