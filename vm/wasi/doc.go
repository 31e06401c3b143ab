// Package wasi runs ordinary programs that were compiled for WASI preview 1 (wasi_snapshot_preview1), unmodified, as processes in isolates.
//
// Who calls it: package node, for domains of a node file that run such a program, and `janos wasi run`.
//
// A [Runner] joins an engine and the 45 calls of preview 1; [New]. [Runner.Start] makes an isolate on account of a domain of the NodeOS and starts the program in it: a [Program]. It ends
// when the program does, by Kill, or with its domain.
//
// A program has what it was given and nothing else: arguments, environment, bytes on its standard input, a bounded log for what it prints, the engine's clock, a source of
// random bytes, and the files of its domain (nodeos.FilesSpec), which it sees as the directory /. That root is what keeps it from other files: names are checked
// here, and resolved by os.Root, which no symbolic link leaves. Sockets, links and signals are refused (ENOTSUP). Everything that it could take is bounded: open files, bytes
// written, names made, bytes printed, memory, fuel and processor time.
//
// The calls are ours, and not those of the engine's own WASI package, which would take files, clocks and output from its module configuration, knows no limits, and
// waits where nobody can end it.
//
// Traps: files block as long as the host's file system does, so a root is on a local disk; the bytes that a program may write are counted over its domain's life. What a call writes for the
// guest it checks before it does anything, so that a bad address costs nothing but the call.
package wasi
