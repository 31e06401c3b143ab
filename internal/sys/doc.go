// Package sys holds the system calls and the unsafe memory of the project: mappings,
// rings, epoll, socket options that golang.org/x/sys does not wrap. Nothing
// above it makes a raw system call or imports unsafe, and a repository test sees to that.
//
// Every function says which kernel feature it needs. What a platform lacks returns an
// errs.NotSupported error, so that the parts of the project without a kernel build everywhere.
package sys
