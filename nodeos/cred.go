package nodeos

import (
	"fmt"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
)

// Operation is a call that creates or modifies something, as a Policy is asked about it. The numbers are not on any wire.
type Operation uint8

// The operations, each with the call that asks and what it calls the object.
const (
	OpNewDomain        Operation = iota // Domain.NewDomain; path of the new domain
	OpTerminate                         // Domain.TerminateBy; path of the domain
	OpNewTask                           // Domain.NewTask; path of the domain and the task's name
	OpNewFD                             // Task.NewFD; path of the domain and the task's name
	OpNewInChan                         // Domain.NewInChan; protocol string
	OpNewOutChan                        // Domain.NewOutChan; protocol string
	OpNewCutChan                        // Domain.NewCutChan; protocol string of the in-channel
	OpNewMemPool                        // Domain.NewMemPool, Node.NewMemPool; path of the domain and the pool's name
	OpSetMemPool                        // MemPool.SetLimit, SetShare; path of the pool
	OpEndMemPool                        // MemPool.Close; path of the pool
	OpOpenLink                          // Node.OpenLink, Node.AddLink; name of the link
	OpCloseLink                         // Node.CloseLink; name of the link
	OpReadFile                          // Domain.OpenFile for Reading; path of the domain and the file's name
	OpWriteFile                         // Domain.OpenFile for Writing or Appending; the same
	OpMakeDir                           // Domain.MakeDir; the same
	OpRemoveFile                        // Domain.RemoveFile; the same
	OpRenameFile                        // Domain.RenameFile; the same, with the old name
	OpNewHeap                           // Domain.NewHeap; path of the domain and the heap's name
	OpNewRegion                         // Domain.NewRegion; path of the domain and the region's name
	OpPutDescriptor                     // Domain.Put; path of the domain and the kind of the object
	OpGrantDescriptor                   // Domain.Grant; path of the domain that is given one
	OpRevokeDescriptor                  // Domain.Revoke; path of the domain and the descriptor
	OpSetDomain                         // Domain.SetShare, SetLimit, SetMaxRun, SetMaxThreads; path of the domain
	OpSetOutChan                        // OutChan.SetBitRate, SetReserve, SetShare; protocol string
	OpSetLink                           // Node.SetLinkRate; name of the link
	NumOperations
)

var operationNames = [NumOperations]string{
	"new-domain", "terminate", "new-task", "new-fd", "new-in-channel", "new-out-channel", "new-cut-channel",
	"new-memory-pool", "set-memory-pool", "end-memory-pool", "open-link", "close-link",
	"read-file", "write-file", "make-directory", "remove-file", "rename-file", "new-heap", "new-region",
	"put-descriptor", "grant-descriptor", "revoke-descriptor", "set-domain", "set-out-channel", "set-link",
}

// String returns the operation's name.
func (o Operation) String() string {
	if o < NumOperations {
		return operationNames[o]
	}
	return fmt.Sprintf("operation(%d)", uint8(o))
}

// Rights is a set of operations.
type Rights uint64

// AllRights are the rights to all operations, those of later versions included.
const AllRights = ^Rights(0)

// RightsTo returns the rights to the given operations.
func RightsTo(ops ...Operation) Rights {
	r := Rights(0)
	for _, o := range ops {
		r |= 1 << o
	}
	return r
}

// Without returns r less the rights to the given operations.
func (r Rights) Without(ops ...Operation) Rights { return r &^ RightsTo(ops...) }

// Has reports whether r has the right to o.
func (r Rights) Has(o Operation) bool { return o < 64 && r&(1<<o) != 0 }

// Cred is a credential: a capability that can be handed on with fewer rights, and revoked with all that came of it. A domain
// carries one, under which the calls on it are made. All methods may be called from any goroutine.
//
// It protects against code that was given domains and credentials, not against Go code that makes
// its own: untrusted code never runs as Go here.
type Cred struct {
	name    string
	rights  Rights
	from    *Cred
	revoked atomic.Bool
}

// NewCred makes a credential for whom name says.
func NewCred(name string, rights Rights) *Cred { return &Cred{name: name, rights: rights} }

// Narrow makes a credential with those of the given rights that c has too. It is worth nothing when c is revoked.
func (c *Cred) Narrow(name string, rights Rights) *Cred {
	return &Cred{name: name, rights: rights & c.rights, from: c}
}

// Revoke makes c and all that was narrowed from it worth nothing, for calls that begin later.
func (c *Cred) Revoke() { c.revoked.Store(true) }

// Name returns the names from the first credential to c, joined with '/'.
func (c *Cred) Name() string {
	if c.from != nil {
		return c.from.Name() + "/" + c.name
	}
	return c.name
}

// May reports whether c has the right to o and has not been revoked. A nil Cred has none.
func (c *Cred) May(o Operation) bool {
	if c == nil || !c.rights.Has(o) {
		return false
	}
	for ; c != nil; c = c.from {
		if c.revoked.Load() {
			return false
		}
	}
	return true
}

// Policy says who may do what. A node asks its policy at the beginning of each call of an Operation, before anything is
// changed, from any goroutine, possibly several at once. It must not call the node. cred is that of the domain
// the call is made on, and nil if neither it nor one above was given one. An error refuses the
// call; the caller gets it wrapped in an errs.Permission.
type Policy interface {
	Check(cred *Cred, op Operation, object string) error
}

// Capabilities is the policy that a credential's rights are all that counts.
type Capabilities struct{}

// Check implements Policy.
func (Capabilities) Check(cred *Cred, op Operation, object string) error {
	switch {
	case cred == nil:
		return errs.New(errs.Permission, "no credential: give the domain or one above it one")
	case !cred.May(op):
		return errs.New(errs.Permission, "credential %s has no right to it, or was revoked", cred.Name())
	}
	return nil
}

// Cred returns the credential that calls on d are made under, or nil.
func (d *Domain) Cred() *Cred { return d.cred }

// may asks the policy whether d may do op. The object is part, or that of d if below is set.
func (d *Domain) may(op Operation, part string, below bool) error {
	p := d.node.spec.Policy
	if p == nil {
		return nil
	}
	if below {
		part = d.Path() + "/" + part
	}
	if err := p.Check(d.cred, op, part); err != nil {
		return errs.New(errs.Permission, "domain %s may not %s %s: %w", d.Path(), op, part, err)
	}
	return nil
}

// TerminateBy is Terminate on behalf of a domain: d itself or one above it, which the policy lets. Others are refused with
// errs.Permission, on nodes without a policy too. Terminate is the node's own means and asks nobody.
func (d *Domain) TerminateBy(caller *Domain, reason error) error {
	above := d
	for above != nil && above != caller {
		above = above.parent
	}
	if above == nil {
		return errs.New(errs.Permission, "domain %s may not end %s: it is not one above it", caller.Path(), d.Path())
	}
	if err := caller.may(OpTerminate, d.Path(), false); err != nil {
		return err
	}
	d.Terminate(reason)
	return nil
}
