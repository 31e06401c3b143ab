// Package tool changes Click configurations without running them: the optimizers and other tools that Click has as
// commands click-flatten, click-undead and so on. Each is a function that changes a flat [lang.Graph], and a command that [Run] runs by
// its name.
//
// cmd/click calls Run when it is started under a name of [Names], or with --tool. Others call the functions: they parse with
// KeepVars and KeepOrder set, if variables are to stay and connections are to be printed in the order in which they were written.
//
// What the tools know of a class is what its registration says (see [click.Class]); a short table has facts about classes of
// Click that are not registered here, and which classes are where packets begin or end. An element of an unknown class may have any
// ports, agnostic, and packets travel from each of its inputs to each of its outputs.
//
// Traps. Graphs may be wrong in every way (ports that are not connected, classes that do not exist): tools leave alone what they do not
// understand, and package click reports it later. Configuration strings may refer to variables that get their value when the
// configuration is run; where a tool depends on one, it uses the value that the file gives.
//
// What the tools do is documented in Click's manual pages click-flatten(1), click-undead(1), click-align(1), click-xform(1),
// click-fastclassifier(1), click-devirtualize(1), click-combine(1), click-uncombine(1) and click-pretty(1).
package tool
