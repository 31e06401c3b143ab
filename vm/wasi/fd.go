package wasi

import (
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"sync/atomic"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/nodeos"
)

// kind is what a descriptor is of.
type kind uint8

const (
	input kind = iota // what is left of Spec.Stdin
	output
	directory
	regular
)

// fd is a descriptor.
type fd struct {
	kind    kind
	root    bool // it is the directory that the program was given
	name    string
	file    *nodeos.File
	append  bool
	base    uint64 // rights
	limited bool   // base is less than all
	out     io.Writer
}

// Types of files.
const (
	typeUnknown   = 0
	typeCharacter = 2
	typeDirectory = 3
	typeRegular   = 4
	typeSymlink   = 7
)

// Rights, flags of path_open and of descriptors.
const (
	rightRead     = 1 << 1
	rightSeek     = 1 << 2
	rightTell     = 1 << 5
	rightWrite    = 1 << 6
	rightAllocate = 1 << 8
	rightMkdir    = 1 << 9
	rightCreate   = 1 << 10
	rightOpen     = 1 << 13
	rightReaddir  = 1 << 14
	rightRenameOf = 1 << 16
	rightRenameTo = 1 << 17
	rightStatPath = 1 << 18
	rightSetSize  = 1 << 22
	rightRmdir    = 1 << 25
	rightUnlink   = 1 << 26
	allRights     = 1<<30 - 1

	oCreate    = 1
	oDirectory = 2
	oExcl      = 4
	oTrunc     = 8

	fdAppend   = 1
	fdNonblock = 4

	followLink = 1
)

// fd finds a descriptor that has rights.
func (c *ctx) fd(n uint64, need uint64) (*fd, errno) {
	if n >= uint64(len(c.p.fds)) || c.p.fds[n] == nil {
		return nil, eBadF
	}
	f := c.p.fds[n]
	if f.limited && f.base&need != need {
		return nil, eNotCapable
	}
	return f, success
}

// dir finds a directory.
func (c *ctx) dir(n uint64, need uint64) (*fd, errno) {
	f, e := c.fd(n, need)
	if e == success && f.kind != directory {
		return nil, eNotDir
	}
	return f, e
}

// reg finds a regular file.
func (c *ctx) reg(n uint64, need uint64) (*fd, errno) {
	f, e := c.fd(n, need)
	switch {
	case e != success:
		return nil, e
	case f.kind == directory:
		return nil, eIsDir
	case f.kind != regular:
		return nil, eSPipe
	}
	return f, success
}

// put gives a descriptor the lowest number that is free.
func (p *process) put(f *fd) (uint32, errno) {
	for n := range p.fds {
		if p.fds[n] == nil {
			p.fds[n] = f
			return uint32(n), success
		}
	}
	if len(p.fds) >= p.spec.MaxOpen {
		return 0, eMFile
	}
	p.fds = append(p.fds, f)
	return uint32(len(p.fds) - 1), success
}

// full reports whether there is no number left.
func (p *process) full() bool {
	for _, f := range p.fds {
		if f == nil {
			return false
		}
	}
	return len(p.fds) >= p.spec.MaxOpen
}

func fdClose(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	if e != success {
		return e
	}
	c.p.fds[a[0]] = nil
	if f.file != nil {
		return errnoOf(f.file.Close())
	}
	return success
}

func fdRenumber(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	if e != success {
		return e
	}
	to, e := c.fd(a[1], 0)
	if e != success || f == to {
		return e
	}
	c.p.fds[a[1]], c.p.fds[a[0]] = f, nil
	if to.file != nil {
		_ = to.file.Close() // as dup2 does
	}
	return success
}

func fdPrestatGet(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	if e != success {
		return e
	}
	if !f.root {
		return eBadF
	}
	b, e := c.at(a[1], 8)
	if e != success {
		return e
	}
	le.PutUint32(b, 0) // a directory
	le.PutUint32(b[4:], 1)
	return success
}

func fdPrestatDirName(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	if e != success {
		return e
	}
	if !f.root {
		return eBadF
	}
	if a[2] < 1 {
		return eNameTooLng
	}
	b, e := c.at(a[1], a[2])
	if e == success {
		b[0] = '/'
	}
	return e
}

func fdFdstatGet(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	if e != success {
		return e
	}
	b, e := c.at(a[1], 24)
	if e != success {
		return e
	}
	clear(b)
	b[0] = [...]byte{typeCharacter, typeCharacter, typeDirectory, typeRegular}[f.kind]
	if f.append {
		b[2] = fdAppend
	}
	base := uint64(allRights)
	switch {
	case f.limited:
		base = f.base
	case f.kind == input || f.kind == output: // no seeking: it is like a terminal
		base &^= rightSeek | rightTell
	}
	le.PutUint64(b[8:], base)
	le.PutUint64(b[16:], allRights)
	return success
}

func fdFdstatSetFlags(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	switch {
	case e != success:
		return e
	case a[1]&^(fdAppend|fdNonblock) != 0 || f.append != (a[1]&fdAppend != 0):
		return eNotSup
	}
	return success // nothing waits here
}

func fdFdstatSetRights(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], a[1])
	if e != success {
		return e
	}
	f.base, f.limited = a[1], true
	return success
}

func fdRead(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], rightRead)
	if e != success {
		return e
	}
	list, e := c.iovecs(a[1], a[2])
	if e != success {
		return e
	}
	n, e := c.at(a[3], 4)
	if e != success {
		return e
	}
	got := 0
	for _, b := range list {
		k := 0
		switch f.kind {
		case input:
			k = copy(b, c.p.stdin)
			c.p.stdin = c.p.stdin[k:]
		case regular:
			var err error
			if k, err = f.file.Read(b); err != nil && err != io.EOF && got == 0 {
				return errnoOf(err)
			}
		case directory:
			return eIsDir
		default:
			return eBadF
		}
		if got += k; k < len(b) {
			break
		}
	}
	c.moved(got)
	le.PutUint32(n, uint32(got))
	return success
}

func fdWrite(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], rightWrite)
	if e != success {
		return e
	}
	list, e := c.iovecs(a[1], a[2])
	if e != success {
		return e
	}
	n, e := c.at(a[3], 4)
	if e != success {
		return e
	}
	put := 0
	for _, b := range list {
		switch f.kind {
		case output:
			c.p.print(f.out, b)
		case regular:
			if _, err := f.file.Write(b); err != nil {
				if put == 0 {
					return errnoOf(err)
				}
				le.PutUint32(n, uint32(put))
				return success
			}
		case directory:
			return eIsDir
		default:
			return eBadF
		}
		put += len(b)
	}
	c.moved(put)
	le.PutUint32(n, uint32(put))
	return success
}

// positioned is fd_pread and fd_pwrite.
func positioned(c *ctx, a []uint64, need uint64, do func(f *fd, b []byte, at int64) (int, error)) errno {
	f, e := c.reg(a[0], need)
	if e != success {
		return e
	}
	list, e := c.iovecs(a[1], a[2])
	if e != success {
		return e
	}
	n, e := c.at(a[4], 4)
	if e != success {
		return e
	}
	if a[3] > math.MaxInt64-maxMove {
		return eInval
	}
	done := 0
	for _, b := range list {
		k, err := do(f, b, int64(a[3])+int64(done))
		if err != nil && err != io.EOF && done == 0 && k == 0 {
			return errnoOf(err)
		}
		if done += k; k < len(b) {
			break
		}
	}
	c.moved(done)
	le.PutUint32(n, uint32(done))
	return success
}

func fdPread(c *ctx, a []uint64) errno {
	return positioned(c, a, rightRead|rightSeek, func(f *fd, b []byte, at int64) (int, error) { return f.file.ReadAt(b, at) })
}

func fdPwrite(c *ctx, a []uint64) errno {
	return positioned(c, a, rightWrite|rightSeek, func(f *fd, b []byte, at int64) (int, error) {
		if f.append {
			return 0, errs.New(errs.Invalid, "opened for appending")
		}
		return f.file.WriteAt(b, at)
	})
}

// seek moves the position and writes it.
func (c *ctx) seek(n uint64, offset int64, whence int, out uint64, need uint64) errno {
	f, e := c.reg(n, need)
	if e != success {
		return e
	}
	b, e := c.at(out, 8)
	if e != success {
		return e
	}
	if whence < 0 || whence > 2 {
		return eInval
	}
	at, err := f.file.Seek(offset, whence)
	if err != nil {
		return errnoOf(err)
	}
	le.PutUint64(b, uint64(at))
	return success
}

func fdSeek(c *ctx, a []uint64) errno { return c.seek(a[0], int64(a[1]), int(a[2]), a[3], rightSeek) }
func fdTell(c *ctx, a []uint64) errno { return c.seek(a[0], 0, io.SeekCurrent, a[1], rightTell) }

func fdAdvise(c *ctx, a []uint64) errno {
	_, e := c.reg(a[0], 0)
	if e == success && a[3] > 5 {
		return eInval
	}
	return e // advice is not taken
}

func fdSync(c *ctx, a []uint64) errno {
	f, e := c.reg(a[0], 0)
	if e != success {
		return e
	}
	return errnoOf(f.file.Sync())
}

// maxSize is the largest size that a file can be given.
const maxSize = 1 << 50

func fdFilestatSetSize(c *ctx, a []uint64) errno {
	f, e := c.reg(a[0], rightSetSize)
	if e != success {
		return e
	}
	if a[1] > maxSize {
		return eInval
	}
	return errnoOf(f.file.Truncate(int64(a[1])))
}

func fdAllocate(c *ctx, a []uint64) errno {
	f, e := c.reg(a[0], rightAllocate)
	if e != success {
		return e
	}
	if a[1] > maxSize || a[2] > maxSize || a[2] == 0 {
		return eInval
	}
	i, err := f.file.Stat()
	if err != nil {
		return errnoOf(err)
	}
	if want := int64(a[1] + a[2]); want > i.Size() {
		return errnoOf(f.file.Truncate(want))
	}
	return success
}

// inode is a number for a name: the host's are nobody's business.
func inode(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64() | 1
}

// typeOf returns the type of a file.
func typeOf(m fs.FileMode) byte {
	switch {
	case m.IsDir():
		return typeDirectory
	case m.IsRegular():
		return typeRegular
	case m&fs.ModeSymlink != 0:
		return typeSymlink
	}
	return typeUnknown
}

func putStat(b []byte, name string, i fs.FileInfo) {
	clear(b)
	le.PutUint64(b, 1)
	le.PutUint64(b[8:], inode(name))
	b[16] = typeOf(i.Mode())
	le.PutUint64(b[24:], 1)
	le.PutUint64(b[32:], uint64(i.Size()))
	for _, off := range []int{40, 48, 56} {
		le.PutUint64(b[off:], uint64(i.ModTime().UnixNano()))
	}
}

func fdFilestatGet(c *ctx, a []uint64) errno {
	f, e := c.fd(a[0], 0)
	if e != success {
		return e
	}
	b, e := c.at(a[1], 64)
	if e != success {
		return e
	}
	var i fs.FileInfo
	var err error
	switch f.kind {
	case regular:
		i, err = f.file.Stat()
	case directory:
		i, err = c.p.d.StatFile(f.name)
	default:
		clear(b)
		b[16] = typeCharacter
		return success
	}
	if err != nil {
		return errnoOf(err)
	}
	putStat(b, f.name, i)
	return success
}

func fdReaddir(c *ctx, a []uint64) errno {
	f, e := c.dir(a[0], rightReaddir)
	if e != success {
		return e
	}
	buf, e := c.at(a[1], a[2])
	if e != success {
		return e
	}
	n, e := c.at(a[4], 4)
	if e != success {
		return e
	}
	if a[3] == 0 || c.p.listed != f { // one listing is kept, as it was when it was read from its beginning
		list, err := c.p.d.ReadDir(f.name)
		if err != nil {
			return errnoOf(err)
		}
		c.p.listed, c.p.entries = f, list
		c.in.Charge(uint64(100 * len(list)))
	}
	entries := c.p.entries
	if a[3] > uint64(len(entries))+2 {
		return eInval
	}
	used := 0
	for k := int(a[3]); k < len(entries)+2 && used < len(buf); k++ {
		name, typ := ".", byte(typeDirectory)
		switch {
		case k == 1:
			name = ".."
		case k > 1:
			name, typ = entries[k-2].Name(), typeOf(entries[k-2].Type())
		}
		var e [24]byte
		le.PutUint64(e[:], uint64(k+1))
		le.PutUint64(e[8:], inode(f.name+"/"+name))
		le.PutUint32(e[16:], uint32(len(name)))
		e[20] = typ
		used += copy(buf[used:], e[:])
		used += copy(buf[used:], name) // the last one is cut: the program comes again with its number
	}
	c.moved(used)
	le.PutUint32(n, uint32(used))
	return success
}

func pathOpen(c *ctx, a []uint64) errno {
	dir, e := c.dir(a[0], rightOpen)
	if e != success {
		return e
	}
	name, e := c.pathOf(dir, a[2], a[3])
	if e != success {
		return e
	}
	out, e := c.at(a[8], 4)
	if e != success {
		return e
	}
	if c.p.full() {
		return eMFile
	}
	oflags, base, fdflags := uint32(a[4]), a[5], uint32(a[7])
	read, write := base&(rightRead|rightReaddir) != 0, base&(rightWrite|rightAllocate|rightSetSize) != 0
	if oflags&oTrunc != 0 && !write || oflags&oDirectory != 0 && oflags&(oCreate|oExcl|oTrunc) != 0 {
		return eInval
	}
	d := c.p.d
	if i, err := d.LstatFile(name); err == nil && i.Mode()&fs.ModeSymlink != 0 && a[1]&followLink == 0 {
		return eLoop
	}
	i, err := d.StatFile(name)
	switch {
	case err == nil && oflags&oExcl != 0:
		return eExist
	case err == nil && i.IsDir():
		if write && base&rightReaddir == 0 || oflags&oTrunc != 0 {
			return eIsDir
		}
		n, e := c.p.put(&fd{kind: directory, name: name, base: base, limited: true})
		if e == success {
			le.PutUint32(out, n)
		}
		return e
	case err == nil && oflags&oDirectory != 0:
		return eNotDir
	case err != nil && (errnoOf(err) != eNoEnt || oflags&oCreate == 0):
		return errnoOf(err)
	case err != nil:
		if dir.limited && dir.base&rightCreate == 0 {
			return eNotCapable
		}
		if !c.p.name() {
			return eDQuot
		}
	}
	file, err := d.OpenFileFlags(name, openFlags(oflags, fdflags, read, write))
	if err != nil {
		if errs.KindOf(err) == errs.Limit {
			return eMFile
		}
		return errnoOf(err)
	}
	n, e := c.p.put(&fd{kind: regular, name: name, file: file, append: fdflags&fdAppend != 0, base: base, limited: true})
	if e != success {
		_ = file.Close()
		return e
	}
	le.PutUint32(out, n)
	return success
}

func pathFilestatGet(c *ctx, a []uint64) errno {
	dir, e := c.dir(a[0], rightStatPath)
	if e != success {
		return e
	}
	name, e := c.pathOf(dir, a[2], a[3])
	if e != success {
		return e
	}
	b, e := c.at(a[4], 64)
	if e != success {
		return e
	}
	stat := c.p.d.LstatFile
	if a[1]&followLink != 0 {
		stat = c.p.d.StatFile
	}
	i, err := stat(name)
	if err != nil {
		return errnoOf(err)
	}
	putStat(b, name, i)
	return success
}

func pathCreateDirectory(c *ctx, a []uint64) errno {
	dir, e := c.dir(a[0], rightMkdir)
	if e != success {
		return e
	}
	name, e := c.pathOf(dir, a[1], a[2])
	if e != success {
		return e
	}
	if !c.p.name() {
		return eDQuot
	}
	return errnoOf(c.p.d.MakeDir(name))
}

// remove removes a file or a directory, whichever was asked for.
func (c *ctx) remove(a []uint64, need uint64, isDir bool) errno {
	dir, e := c.dir(a[0], need)
	if e != success {
		return e
	}
	name, e := c.pathOf(dir, a[1], a[2])
	if e != success {
		return e
	}
	if name == "." {
		return eInval
	}
	i, err := c.p.d.LstatFile(name)
	switch {
	case err != nil:
		return errnoOf(err)
	case isDir && !i.IsDir():
		return eNotDir
	case !isDir && i.IsDir():
		return eIsDir
	}
	return errnoOf(c.p.d.RemoveFile(name))
}

func pathRemoveDirectory(c *ctx, a []uint64) errno { return c.remove(a, rightRmdir, true) }
func pathUnlinkFile(c *ctx, a []uint64) errno      { return c.remove(a, rightUnlink, false) }

func pathRename(c *ctx, a []uint64) errno {
	from, e := c.dir(a[0], rightRenameOf)
	if e != success {
		return e
	}
	old, e := c.pathOf(from, a[1], a[2])
	if e != success {
		return e
	}
	to, e := c.dir(a[3], rightRenameTo)
	if e != success {
		return e
	}
	name, e := c.pathOf(to, a[4], a[5])
	if e != success {
		return e
	}
	if old == "." || name == "." {
		return eInval
	}
	return errnoOf(c.p.d.RenameFile(old, name))
}

// poll answers subscriptions: what is of descriptors is there at once, since none of them waits; clocks are waited for, until the isolate ends.
func (c *ctx) poll(subs, out, count []byte) errno {
	n := 0
	event := func(sub []byte, e errno, bytes uint64) {
		b := out[32*n : 32*n+32]
		clear(b)
		copy(b, sub[:8])
		b[8], b[10] = byte(e), sub[8]
		le.PutUint64(b[16:], bytes)
		n++
	}
	now := c.p.r.clk.Now()
	first := clock.Never
	at := make([]clock.Time, len(subs)/48)
	for k := range at {
		s := subs[48*k:]
		at[k] = clock.Never
		switch s[8] {
		case 0:
			when, e := c.p.due(s, now)
			if e != success || when <= now {
				event(s, e, 0)
				continue
			}
			at[k] = when
			first = min(first, when)
		case 1, 2:
			f, e := c.fd(uint64(le.Uint32(s[16:])), 0)
			bytes := uint64(1)
			if e == success && f.kind == input {
				bytes = uint64(len(c.p.stdin))
			}
			event(s, e, bytes)
		default:
			return eInval
		}
	}
	if n == 0 {
		var never atomic.Bool
		if err := c.in.Wait(&never, first); errs.KindOf(err) != errs.Timeout {
			return eBadF // the isolate ends
		}
		for k, when := range at {
			if when <= max(first, c.p.r.clk.Now()) && when != clock.Never {
				event(subs[48*k:], success, 0)
			}
		}
	}
	le.PutUint32(count, uint32(n))
	return success
}

// due returns when a subscription to a clock is there.
func (p *process) due(s []byte, now clock.Time) (clock.Time, errno) {
	id, timeout := uint64(le.Uint32(s[16:])), le.Uint64(s[24:])
	left := time.Duration(min(timeout, math.MaxInt64))
	if le.Uint16(s[40:])&1 != 0 { // at a time
		present, e := p.now(id)
		if e != success || id > clockMonotonic {
			return 0, eNotSup
		}
		if timeout <= present {
			return now, success
		}
		left = time.Duration(min(timeout-present, math.MaxInt64))
	} else if id > clockMonotonic {
		return 0, eNotSup
	}
	return now.Add(left), success
}
