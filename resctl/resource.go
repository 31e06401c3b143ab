package resctl

import (
	"fmt"

	"github.com/janos-os/janos/errs"
)

// Resource names something that is counted.
type Resource uint8

// The resources. Further ones are appended; the numbers are not on any wire.
const (
	CPU       Resource = iota // consumed: nanoseconds of worker time
	Fuel                      // consumed: units of guest code, see package vm
	Memory                    // held: bytes of linear memory, code and tables
	Frames                    // held: packet frames
	CodeLoads                 // consumed: loads of code begun
	NumResources
)

var resourceNames = [NumResources]string{"cpu", "fuel", "memory", "frames", "code-loads"}

// String returns the name that configuration files and reports use.
func (r Resource) String() string {
	if r < NumResources {
		return resourceNames[r]
	}
	return fmt.Sprintf("resource(%d)", uint8(r))
}

// ParseResource is the inverse of String.
func ParseResource(s string) (Resource, error) {
	for i, n := range resourceNames {
		if n == s {
			return Resource(i), nil
		}
	}
	return 0, errs.New(errs.Invalid, "unknown resource %q (there are cpu, fuel, memory, frames, code-loads)", s)
}

// Held reports whether r is given back after use (memory, frames). The others
// are consumed, and their limits apply to a window of time.
func (r Resource) Held() bool { return r == Memory || r == Frames }

// chunk is how much a meter takes from the tree at a time, so that the tree's shared counters
// are touched once for many acts.
var chunk = [NumResources]int64{CPU: 0, Fuel: 200_000, Memory: 0, Frames: 32, CodeLoads: 0}

// Unlimited as a limit, which is also what zero means.
const Unlimited int64 = 0

// Nothing as a limit refuses every request.
const Nothing int64 = -1

// Amounts is one number for each resource, indexed by it.
type Amounts [NumResources]int64

// Share is the weight of an account among its siblings when they compete for
// processor time. Only ratios matter. Zero means DefaultShare.
type Share uint32

// DefaultShare is the weight of an account whose Spec does not say.
const DefaultShare Share = 100

// Refusal is the error of a request that a limit forbids.
type Refusal struct {
	Account  string // path of the account whose limit it was
	Resource Resource
	Asked    int64
	Use      int64 // at the time; within the window if the resource is a consumed one
	Limit    int64
}

// Error implements error.
func (r *Refusal) Error() string {
	return fmt.Sprintf("account %s: %d more %s would exceed its limit (in use %d, limit %d)",
		r.Account, r.Asked, r.Resource, r.Use, max(r.Limit, 0))
}

// Is makes a Refusal an errs.Limit.
func (r *Refusal) Is(target error) bool { return target == errs.Limit }

// As lets errs.KindOf find the kind.
func (r *Refusal) As(target any) bool {
	if k, ok := target.(*errs.Kind); ok {
		*k = errs.Limit
		return true
	}
	return false
}
