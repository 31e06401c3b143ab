// Package ckittest checks that committed WebAssembly modules are what the C sources beside them build to. Tests of packages that keep
// both call [Modules], in this repository and in others that use the kit.
//
// A module is compared only where the compiler is the one that the modules were made with, since another version makes other code
// of the same source; a file beside the sources says which that was. Everywhere else the sources are built nevertheless.
package ckittest
