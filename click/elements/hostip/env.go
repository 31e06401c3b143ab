package hostip

import (
	"github.com/janos-os/janos/channels/host"
	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/errs"
)

// Key is the name of the *Env in click.Env.Values.
const Key = "host"

// Env is what the elements are given from outside.
type Env struct {
	Table  *host.Table
	Device func(link string) string // interface that a link stands on; nil: of the same name
}

// tables gives an element its table.
type tables struct {
	table  *host.Table
	device func(string) string
	own    bool
}

// open finds or makes the table. It belongs to Initialize.
func (t *tables) open(e *click.Base) error {
	t.device = func(link string) string { return link }
	switch v := e.Router().Value(Key).(type) {
	case *Env:
		if v == nil || v.Table == nil {
			return errs.New(errs.NotSupported, "the host's routes are not followed on this node (\"host: {off: true}\", or the node has no interface of the host)")
		}
		t.table = v.Table
		if v.Device != nil {
			t.device = v.Device
		}
		return nil
	case nil:
	default:
		return errs.New(errs.Internal, "the value %q is not of package hostip", Key)
	}
	var err error
	t.table, err = host.Follow(host.Spec{})
	t.own = err == nil
	return err
}

func (t *tables) close() error {
	if !t.own {
		return nil
	}
	t.own = false
	return t.table.Close()
}
