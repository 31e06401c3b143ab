//go:build !linux

package probe

func machine() []Result {
	return []Result{{Group: "machine", Name: "links", Answer: No, Why: "not Linux", For: "nodes on real interfaces",
		Remedy: "laboratories in one process work here: janos lab run --virtual FILE"}}
}
