package nodeosabi

import (
	"bytes"
	"math"
	"sync/atomic"

	"github.com/janos-os/janos/errs"
	"github.com/janos-os/janos/resctl"
	"github.com/janos-os/janos/sdk/abi"
	"github.com/janos-os/janos/vm"
)

// domainBytes is charged to the domain above for each domain that a guest makes, until it is dead.
const domainBytes = 16 << 10

// maxPath bounds how deep domains of guests are nested: each keeps the path of those above.
const maxPath = 1024

// domain is what handles of domains name.
type domain struct {
	Domain
	above Domain // that pays for it; nil: the host made it
	by    *self
	dead  atomic.Bool
	bell  bell
}

// end implements closer.
func (d *domain) end(reason error) { d.End(reason) }

// limitOf reads a limit of the ABI.
func limitOf(v uint64) (int64, error) {
	switch {
	case v == abi.NONothing:
		return resctl.Nothing, nil
	case v > math.MaxInt64:
		return 0, errs.New(errs.Invalid, "nodeosabi: a limit of %d", v)
	}
	return int64(v), nil
}

// domainSpec reads a no_domain.
func domainSpec(b []byte) (DomainSpec, error) {
	s := DomainSpec{Share: resctl.Share(le.Uint32(b[abi.NODomainShareOff:]))}
	for r, off := range [resctl.NumResources]int{
		resctl.CPU: abi.NODomainCpuNSOff, resctl.Fuel: abi.NODomainFuelOff, resctl.Memory: abi.NODomainMemoryOff,
		resctl.Frames: abi.NODomainFramesOff, resctl.CodeLoads: abi.NODomainLoadsOff,
	} {
		var err error
		if s.Limit[r], err = limitOf(le.Uint64(b[off:])); err != nil {
			return s, err
		}
	}
	name, _, _ := bytes.Cut(b[abi.NODomainNameOff:abi.NODomainNameOff+32], []byte{0})
	s.Name = text(name)
	if s.Share > 1<<20 {
		return s, errs.New(errs.Invalid, "nodeosabi: domain %s: a share of %d, at most %d", s.Name, s.Share, 1<<20)
	}
	return s, nil
}

func callDomainNew(in *vm.Instance, s []uint64) (int, error) {
	above, err := get[*domain](in, s[0], vm.MayUse)
	if err != nil {
		return 0, err
	}
	b, err := record(in, s[1], abi.NODomainSize)
	if err != nil {
		return 0, err
	}
	spec, err := domainSpec(b)
	if err != nil {
		return 0, err
	}
	if spec.Name == "" || bytes.ContainsRune([]byte(spec.Name), '/') {
		return 0, errs.New(errs.Invalid, "nodeosabi: a domain named %q: want 1 to 32 characters, none of them a slash", spec.Name)
	}
	if n := len(above.Path()); n > maxPath {
		return 0, errs.New(errs.Limit, "nodeosabi: domain %s is below a path of %d bytes, at most %d", spec.Name, n, maxPath)
	}
	if err := above.Account().Take(resctl.Memory, domainBytes); err != nil {
		return 0, err
	}
	d := &domain{above: above.Domain, by: me(in)}
	d.Domain, err = above.Domain.New(spec, func() {
		d.by.disown(d)
		d.above.Account().Return(resctl.Memory, domainBytes)
		d.dead.Store(true)
		d.bell.ring()
	})
	if err != nil {
		above.Account().Return(resctl.Memory, domainBytes)
		return 0, err
	}
	h, err := give(in, d)
	if d.dead.Load() { // meanwhile
		d.by.disown(d)
	}
	return h, err
}

func callDomainSet(in *vm.Instance, s []uint64) (int, error) {
	d, err := get[*domain](in, s[0], vm.MayEnd)
	if err != nil {
		return 0, err
	}
	b, err := record(in, s[1], abi.NODomainSize)
	if err != nil {
		return 0, err
	}
	spec, err := domainSpec(b)
	if err != nil {
		return 0, err
	}
	return 0, d.Set(spec)
}

func callDomainStatus(in *vm.Instance, s []uint64) (int, error) {
	d, err := get[*domain](in, s[0], vm.MaySee)
	if err != nil {
		return 0, err
	}
	b, err := at(in, s[1], abi.NODomainStatusSize)
	if err != nil {
		return 0, err
	}
	clear(b)
	state, reason := d.State()
	le.PutUint32(b[abi.NODomainStatusStateOff:], uint32(state))
	if state != Active {
		le.PutUint32(b[abi.NODomainStatusReasonOff:], uint32(errs.KindOf(reason)))
	}
	le.PutUint32(b[abi.NODomainStatusShareOff:], uint32(d.Account().Share()))
	for r, off := range [resctl.NumResources]int{
		resctl.CPU: abi.NODomainStatusCpuOff, resctl.Fuel: abi.NODomainStatusFuelOff, resctl.Memory: abi.NODomainStatusMemoryOff,
		resctl.Frames: abi.NODomainStatusFramesOff, resctl.CodeLoads: abi.NODomainStatusLoadsOff,
	} {
		u := d.Account().Usage(resctl.Resource(r))
		le.PutUint64(b[off+abi.NOUsageUseOff:], uint64(u.Use))
		le.PutUint64(b[off+abi.NOUsagePeakOff:], uint64(u.Peak))
		le.PutUint64(b[off+abi.NOUsageLimitOff:], uint64(u.Limit))
		le.PutUint64(b[off+abi.NOUsageDropsOff:], u.Drops)
	}
	return 0, nil
}

func callDomainEnd(in *vm.Instance, s []uint64) (int, error) {
	d, err := get[*domain](in, s[0], vm.MayEnd)
	if err != nil {
		return 0, err
	}
	d.End(errs.New(errs.Dead, "ended by isolate %s", in.Isolate().Name()))
	return 0, nil
}
