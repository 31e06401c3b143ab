package wasi

import (
	"encoding/binary"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/vm"
)

var le = binary.LittleEndian

func itoa(n int) string { return strconv.Itoa(n) }

// call does what a program asks for.
type call func(c *ctx, a []uint64) errno

// ctx is what a call has.
type ctx struct {
	in *vm.Instance
	p  *process
}

// table is all of preview 1: the types of the parameters (i for i32, l for i64), the price in fuel besides what depends on the arguments, and what does it.
var table = []struct {
	name   string
	params string
	fuel   uint32
	do     call
}{
	{"args_get", "ii", 500, argsGet},
	{"args_sizes_get", "ii", 500, argsSizesGet},
	{"environ_get", "ii", 500, environGet},
	{"environ_sizes_get", "ii", 500, environSizesGet},
	{"clock_res_get", "ii", 500, clockResGet},
	{"clock_time_get", "ili", 500, clockTimeGet},
	{"fd_advise", "illi", 500, fdAdvise},
	{"fd_allocate", "ill", 5000, fdAllocate},
	{"fd_close", "i", 5000, fdClose},
	{"fd_datasync", "i", 50_000, fdSync},
	{"fd_fdstat_get", "ii", 500, fdFdstatGet},
	{"fd_fdstat_set_flags", "ii", 500, fdFdstatSetFlags},
	{"fd_fdstat_set_rights", "ill", 500, fdFdstatSetRights},
	{"fd_filestat_get", "ii", 5000, fdFilestatGet},
	{"fd_filestat_set_size", "il", 10_000, fdFilestatSetSize},
	{"fd_filestat_set_times", "illi", 500, notSupported},
	{"fd_pread", "iiili", 5000, fdPread},
	{"fd_prestat_get", "ii", 500, fdPrestatGet},
	{"fd_prestat_dir_name", "iii", 500, fdPrestatDirName},
	{"fd_pwrite", "iiili", 5000, fdPwrite},
	{"fd_read", "iiii", 5000, fdRead},
	{"fd_readdir", "iiili", 20_000, fdReaddir},
	{"fd_renumber", "ii", 5000, fdRenumber},
	{"fd_seek", "ilii", 5000, fdSeek},
	{"fd_sync", "i", 50_000, fdSync},
	{"fd_tell", "ii", 500, fdTell},
	{"fd_write", "iiii", 5000, fdWrite},
	{"path_create_directory", "iii", 50_000, pathCreateDirectory},
	{"path_filestat_get", "iiiii", 20_000, pathFilestatGet},
	{"path_filestat_set_times", "iiiilli", 500, notSupported},
	{"path_link", "iiiiiii", 500, notSupported},
	{"path_open", "iiiiillii", 50_000, pathOpen},
	{"path_readlink", "iiiiii", 500, notSupported},
	{"path_remove_directory", "iii", 50_000, pathRemoveDirectory},
	{"path_rename", "iiiiii", 50_000, pathRename},
	{"path_symlink", "iiiii", 500, notSupported},
	{"path_unlink_file", "iii", 50_000, pathUnlinkFile},
	{"poll_oneoff", "iiii", 1000, pollOneoff},
	{"proc_exit", "i", 100, nil},
	{"proc_raise", "i", 500, notSupported},
	{"sched_yield", "", 500, schedYield},
	{"random_get", "ii", 1000, randomGet},
	{"sock_accept", "iii", 500, notSupported},
	{"sock_recv", "iiiiii", 500, notSupported},
	{"sock_send", "iiiii", 500, notSupported},
	{"sock_shutdown", "ii", 500, notSupported},
}

// imports makes the host functions.
func imports() []vm.HostFunc {
	var all []vm.HostFunc
	for _, t := range table {
		f := vm.HostFunc{Module: Module, Name: t.name, Params: len(t.params), Result: true, Fuel: t.fuel}
		for k, c := range t.params {
			if c == 'l' {
				f.Wide |= 1 << k
			}
		}
		if t.name == "proc_exit" {
			f.Result = false
			f.Call = func(in *vm.Instance, s []uint64) { in.Exit(int32(uint32(s[0]))) }
		} else {
			do := t.do
			f.Call = func(in *vm.Instance, s []uint64) {
				s[0] = uint64(do(&ctx{in, in.Isolate().Data().(*process)}, s))
			}
		}
		all = append(all, f)
	}
	return all
}

func notSupported(*ctx, []uint64) errno { return eNotSup }

// at returns guest memory.
func (c *ctx) at(addr, n uint64) ([]byte, errno) {
	if addr <= 1<<32-1 && n <= 1<<32-1 {
		if b, ok := c.in.Memory(uint32(addr), uint32(n)); ok {
			return b, success
		}
	}
	return nil, eFault
}

// moved charges for bytes that a call has moved.
func (c *ctx) moved(n int) { c.in.Charge(uint64(n) / 16) }

func strings0(list []string, ptrs, buf []byte, at uint32) {
	for k, s := range list {
		le.PutUint32(ptrs[4*k:], at)
		n := copy(buf, s)
		buf[n] = 0
		buf = buf[n+1:]
		at += uint32(n) + 1
	}
}

func (c *ctx) strings(list []string, a []uint64) errno {
	ptrs, e := c.at(a[0], 4*uint64(len(list)))
	if e != success {
		return e
	}
	buf, e := c.at(a[1], uint64(size(list)))
	if e != success {
		return e
	}
	strings0(list, ptrs, buf, uint32(a[1]))
	c.moved(len(buf))
	return success
}

func (c *ctx) sizes(list []string, a []uint64) errno {
	n, e := c.at(a[0], 4)
	if e != success {
		return e
	}
	b, e := c.at(a[1], 4)
	if e != success {
		return e
	}
	le.PutUint32(n, uint32(len(list)))
	le.PutUint32(b, uint32(size(list)))
	return success
}

func argsGet(c *ctx, a []uint64) errno         { return c.strings(c.p.spec.Args, a) }
func argsSizesGet(c *ctx, a []uint64) errno    { return c.sizes(c.p.spec.Args, a) }
func environGet(c *ctx, a []uint64) errno      { return c.strings(c.p.spec.Env, a) }
func environSizesGet(c *ctx, a []uint64) errno { return c.sizes(c.p.spec.Env, a) }

// The clocks.
const (
	clockReal = iota
	clockMonotonic
	clockProcess
	clockThread
)

// now reads a clock.
func (p *process) now(id uint64) (uint64, errno) {
	switch id {
	case clockReal:
		return uint64(p.r.clk.Wall().UnixNano()), success
	case clockMonotonic:
		return uint64(p.r.clk.Now()), success
	case clockProcess, clockThread:
		return uint64(p.d.Account().Use(resctl.CPU)), success
	}
	return 0, eInval
}

func clockResGet(c *ctx, a []uint64) errno {
	b, e := c.at(a[1], 8)
	if e != success {
		return e
	}
	if a[0] > clockThread {
		return eInval
	}
	le.PutUint64(b, 1000)
	return success
}

func clockTimeGet(c *ctx, a []uint64) errno {
	b, e := c.at(a[2], 8)
	if e != success {
		return e
	}
	v, e := c.p.now(a[0])
	if e == success {
		le.PutUint64(b, v)
	}
	return e
}

func schedYield(*ctx, []uint64) errno { return success } // the quantum says when others run

func randomGet(c *ctx, a []uint64) errno {
	if a[1] > 64<<10 {
		return eInval
	}
	b, e := c.at(a[0], a[1])
	if e != success {
		return e
	}
	c.in.Charge(uint64(len(b)))
	if _, err := io.ReadFull(c.p.spec.Random, b); err != nil {
		clear(b)
		return eIO
	}
	return success
}

// pathOf reads a name and says what it is below the root of the domain.
func (c *ctx) pathOf(dir *fd, ptr, n uint64) (string, errno) {
	if n > MaxPath {
		return "", eNameTooLng
	}
	b, e := c.at(ptr, n)
	if e != success {
		return "", e
	}
	c.in.Charge(n)
	return resolve(dir.name, string(b))
}

// resolve says what a program's name, relative to one of its directories, is below the root. What begins at / or leaves the directory by .. is not for it.
func resolve(dir, name string) (string, errno) {
	switch {
	case name == "":
		return "", eNoEnt
	case strings.IndexByte(name, 0) >= 0:
		return "", eInval
	case !filepath.IsLocal(name) || strings.Contains(name, "\\"):
		return "", eNotCapable
	}
	return path.Join(dir, name), success
}

// maxMove is how many bytes a call moves at most; the program comes again for the rest, as it does where files end. A call cannot be interrupted.
const maxMove = 1 << 20

// iovecs reads a list of buffers, cut to what a call moves. They may overlap: each is filled or read by itself, in order.
func (c *ctx) iovecs(ptr, n uint64) ([][]byte, errno) {
	if n > MaxIovecs {
		return nil, eInval
	}
	b, e := c.at(ptr, 8*n)
	if e != success {
		return nil, e
	}
	list := make([][]byte, n)
	left := maxMove
	for k := range list {
		if list[k], e = c.at(uint64(le.Uint32(b[8*k:])), uint64(le.Uint32(b[8*k+4:]))); e != success {
			return nil, e
		}
		list[k] = list[k][:min(len(list[k]), left)]
		left -= len(list[k])
	}
	return list, success
}

func pollOneoff(c *ctx, a []uint64) errno {
	n := a[2]
	if n < 1 || n > MaxEvents {
		return eInval
	}
	subs, e := c.at(a[0], 48*n)
	if e != success {
		return e
	}
	out, e := c.at(a[1], 32*n)
	if e != success {
		return e
	}
	count, e := c.at(a[3], 4)
	if e != success {
		return e
	}
	c.in.Charge(100 * n)
	subs = slices.Clone(subs) // the lists may overlap
	return c.poll(subs, out, count)
}
