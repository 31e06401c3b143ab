// Package guestee holds an execution environment that is a guest itself, written in C (guests/ee.c), two programs for it, and what they are built to. README.md
// says how it is run on a node and in a plain program; the conformance tests of package vm/nodeosabi run the same modules on both.
package guestee
