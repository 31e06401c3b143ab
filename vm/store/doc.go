// Package store keeps compiled code in a directory, so that a node that starts again need not compile it once more.
//
// The engine calls it (package vm, EngineSpec.Store). [Open] refuses a directory that somebody else could have written to; [Store.Get] returns what [Store.Put] has
// put under a key, or nothing.
//
// What is in the files is executed as native code, outside of every bound that guests have. So they are believed only if nobody but the user that the process runs
// as, and root, can have written them: the directory, and each one above it, belongs to one of the two and gives nobody else the right to write,
// and no part of the path is a symbolic link. Files have the same rule. Checksums are against damage, not against forgery: a file that has
// a wrong byte is removed, and counts as not there.
//
// The trap to know: several processes may use one directory at a time. What one has removed is missed by the other, and no more.
package store
