//go:build !unix

package store

import "io/fs"

const noFollow = 0

func known(fs.FileInfo) bool { return false }

func owned(fs.FileInfo) bool { return false }
