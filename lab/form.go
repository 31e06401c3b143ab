package lab

// Form is a way to build a network. Better ones are larger.
type Form uint8

const (
	OneProcess    Form = 1 // nodes as objects of one process, links in memory; no kernel, works everywhere
	UserNamespace Form = 2 // real links and kernels' stacks, in a user namespace of our own; no privileges needed
	Namespaces    Form = 3 // the same for root; visible to ip netns
)

// String names the form.
func (f Form) String() string {
	switch f {
	case Namespaces:
		return "network namespaces"
	case UserNamespace:
		return "network namespaces in a user namespace"
	case OneProcess:
		return "one process"
	}
	return "unknown"
}
