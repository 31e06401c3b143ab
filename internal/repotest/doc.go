// Package repotest holds the tests of the repository itself: which package may import
// which, that every package is documented, that dependencies are listed with a reason,
// that system calls and unsafe stay in their places. It has no code of its own.
package repotest
