package gate

import (
	"fmt"

	"github.com/janos-os/janos/errs"
)

// Error is a refusal. Its kind is errs.Invalid for bytes that are no WebAssembly module,
// errs.Refused for a module that is one but breaks a limit or uses what is not accepted.
type Error struct {
	Kind   errs.Kind
	Offset int    // of the offending byte in the input
	Where  string // section or function, e.g. "function 3"
	Msg    string // what is wrong
	Remedy string // what its author can do; may be empty
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("module offset %#x: ", e.Offset)
	if e.Where != "" {
		s += e.Where + ": "
	}
	s += e.Msg
	if e.Remedy != "" {
		s += ": " + e.Remedy
	}
	return s
}

// Is makes e match its kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(errs.Kind)
	return ok && k == e.Kind
}

// As lets errs.KindOf find the kind.
func (e *Error) As(target any) bool {
	k, ok := target.(*errs.Kind)
	if ok {
		*k = e.Kind
	}
	return ok
}
