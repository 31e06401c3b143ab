// Package errs gives errors a kind with a stable number. The number is shared by exit
// codes, the control API and the guest ABI, so a kind is never renumbered.
//
// A function that refuses something returns an *[Error]: its kind says what sort of
// refusal it is, its text names the thing and the remedy. Callers test the kind with
// [KindOf] or errors.Is(err, errs.Limit). Configurations collect a [List] of
// errors with file, line and column, so that all of them are reported at once.
package errs
