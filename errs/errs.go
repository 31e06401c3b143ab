package errs

import (
	"errors"
	"fmt"
)

// Kind classifies an error. A Kind is itself an error, so that errors.Is(err, errs.Limit) works.
type Kind uint8

// The kinds. The numbers are part of the guest ABI and of the exit codes: append only.
const (
	OK           Kind = 0  // no error
	Internal     Kind = 1  // a defect of ours
	Invalid      Kind = 2  // the request or the input is malformed
	NotFound     Kind = 3  // a name, id or route that is not there
	Exists       Kind = 4  // the name or address is taken
	Permission   Kind = 5  // the caller may not
	Limit        Kind = 6  // an account's limit would be exceeded
	NoMemory     Kind = 7  // the node itself has none left
	WouldBlock   Kind = 8  // the call would have to wait and may not
	Dead         Kind = 9  // the object has been destroyed
	NotSupported Kind = 10 // this machine or build lacks what it needs
	Timeout      Kind = 11 // a deadline passed
	OutOfFuel    Kind = 12 // guest code used up its budget
	Trap         Kind = 13 // guest code did something its machine forbids
	Depth        Kind = 14 // guest code recursed too deeply
	TooBig       Kind = 15 // larger than the path, frame or field allows
	Refused      Kind = 16 // policy or a verifier said no
	Unreachable  Kind = 17 // no route or no answering neighbour
	Corrupt      Kind = 18 // a hash or checksum does not match
	kinds        Kind = 19
)

var kindNames = [...]string{
	"ok", "internal error", "invalid", "not found", "already exists", "permission denied",
	"limit exceeded", "out of memory", "would block", "dead", "not supported", "timed out", "out of fuel",
	"trap", "call depth exceeded", "too big", "refused", "unreachable", "corrupt",
}

// Error implements error with the kind's name.
func (k Kind) Error() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("error kind %d", uint8(k))
}

// Error is an error with a kind. The zero value is not useful; use New or Wrap.
type Error struct {
	Kind Kind
	Msg  string // what went wrong with what, and what to do about it
	Err  error  // the cause, or nil
}

// New returns an error of kind k; a %w verb in format keeps its operand as the cause.
func New(k Kind, format string, args ...any) error {
	e := fmt.Errorf(format, args...)
	return &Error{Kind: k, Msg: e.Error(), Err: errors.Unwrap(e)}
}

// Error implements error.
func (e *Error) Error() string { return e.Msg }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the kind of e.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// KindOf returns the kind of err: OK for nil, that of the first *Error or Kind in its
// chain, and Internal for anything else.
func KindOf(err error) Kind {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}

// ExitCode maps an error to the exit code that our commands use: 0 for nil, 1
// for an internal error, and kind+16 for the others, which stays clear of
// the codes that shells use.
func ExitCode(err error) int {
	switch k := KindOf(err); k {
	case OK:
		return 0
	case Internal:
		return 1
	default:
		return int(k) + 16
	}
}
