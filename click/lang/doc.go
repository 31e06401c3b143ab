// Package lang reads and prints the Click language, in which users describe an
// element graph. It knows the language and no elements: package click gives the
// classes their meaning, the tools of cmd/click rewrite graphs without running them.
//
// There are three forms of a configuration. Text is what the user wrote. The tree
// ([File], [Element], [Compound] and the statements) is the text without comments, and
// keeps every place, so that it can be printed prettily. A [Graph] is flat: compounds
// are expanded, variables replaced, tunnels and groups resolved, so that only
// elements with names such as outer/inner and port-to-port connections remain.
// [Parse] makes a tree of text, [Flatten] a Graph of a tree, [Graph.String] text of a Graph.
//
// All errors of a configuration are reported in one go as an errs.List with file, line
// and column. A Graph that came with errors is incomplete and is for looking at only.
//
// Traps. The input is hostile: expansion of nested compounds grows exponentially in
// the length of the text, so Flatten refuses beyond the limits of [Options]. An identifier
// that is neither declared nor a known class is taken for a class, because the language
// says so; only package click can call it unknown. Positions follow "# line"
// directives, so they may name files that do not exist.
//
// The language is the one documented in Click's click(5) manual page.
package lang
