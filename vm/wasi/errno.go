package wasi

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/janos-os/janos/errs"
)

// errno is an error number of WASI preview 1.
type errno uint32

// Those that are used here, as wasi/api.h has them.
const (
	success     errno = 0
	eAccess     errno = 2
	eBadF       errno = 8
	eDQuot      errno = 19
	eExist      errno = 20
	eFault      errno = 21
	eInval      errno = 28
	eIO         errno = 29
	eIsDir      errno = 31
	eLoop       errno = 32
	eMFile      errno = 33
	eNameTooLng errno = 37
	eNoEnt      errno = 44
	eNoMem      errno = 48
	eNotDir     errno = 54
	eNotEmpty   errno = 55
	eNotSup     errno = 58
	eOverflow   errno = 61
	ePerm       errno = 63
	eSPipe      errno = 70
	eXDev       errno = 75
	eNotCapable errno = 76
)

// host are error numbers of the host that say more than the kind of an error.
var host = map[syscall.Errno]errno{
	syscall.EISDIR: eIsDir, syscall.ENOTDIR: eNotDir, syscall.ENOTEMPTY: eNotEmpty, syscall.ELOOP: eLoop, syscall.ENAMETOOLONG: eNameTooLng,
	syscall.ENOSPC: eDQuot, syscall.EDQUOT: eDQuot, syscall.EXDEV: eXDev, syscall.EINVAL: eInval, syscall.EACCES: eAccess, syscall.EPERM: ePerm,
	syscall.EBADF: eBadF, syscall.ENOENT: eNoEnt, syscall.EEXIST: eExist,
}

// errnoOf is what a guest is told of an error of the file root. Nothing of the host's text reaches it.
func errnoOf(err error) errno {
	if err == nil {
		return success
	}
	var n syscall.Errno
	if errors.As(err, &n) {
		if e, ok := host[n]; ok {
			return e
		}
	}
	switch errs.KindOf(err) {
	case errs.NotFound:
		return eNoEnt
	case errs.Exists:
		return eExist
	case errs.Permission:
		return eNotCapable
	case errs.Limit:
		return eDQuot
	case errs.Dead:
		return eBadF
	case errs.TooBig:
		return eOverflow
	case errs.Invalid:
		return eInval
	case errs.Refused: // os.Root found that the name leads out, or it is no regular file
		if errors.Is(err, fs.ErrInvalid) {
			return eInval
		}
		return eNotCapable
	}
	return eIO
}
