// Package elementtest runs golden scripts for elements, those of this repository and those of others.
//
// A script is a text archive: a part "config" in the Click language, a part "script" of commands, and a
// part "out", the transcript that is expected. The graph runs on a stepped node under a virtual clock, so a script gives
// the same transcript every time. Configurations use two classes of this package: in :: ScriptIn is where the
// command "send in PACKET" puts packets, and ScriptOut(FORMAT) prints what reaches it.
//
// A test calls [Run] with a file pattern, or makes a [Session] to go on from there. The life of a session ends
// with its test. The packet notation is described at [Build].
package elementtest
