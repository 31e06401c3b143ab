package pprofile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"

	"github.com/janos-os/janos/errs"
)

// ValueType says what a value is, for example cpu in nanoseconds.
type ValueType struct{ Type, Unit string }

// Frame is a function on a stack, and the line it is at.
type Frame struct {
	Func, File string
	Line       int64
}

// Sample is a stack, the innermost frame first, with a value for each of the profile's types.
type Sample struct {
	Stack  []Frame
	Values []int64
}

// Profile is a profile.
type Profile struct {
	Types    []ValueType
	Samples  []Sample
	Duration int64 // nanoseconds
	Comments []string
}

// What Parse takes at most: unpacked bytes, and frames on all stacks.
const (
	maxProfile = 64 << 20
	maxFrames  = 1 << 22
)

// writer writes the wire format of protocol buffers.
type writer struct{ b []byte }

func (w *writer) key(field, wire int) { w.b = binary.AppendUvarint(w.b, uint64(field<<3|wire)) }

func (w *writer) num(field int, v int64) {
	if v != 0 {
		w.key(field, 0)
		w.b = binary.AppendUvarint(w.b, uint64(v))
	}
}

func (w *writer) bytes(field int, b []byte) {
	w.key(field, 2)
	w.b = append(binary.AppendUvarint(w.b, uint64(len(b))), b...)
}

// Write writes p, gzipped.
func (p *Profile) Write(out io.Writer) error {
	var w writer
	texts := map[string]int64{"": 0}
	list := []string{""}
	text := func(s string) int64 {
		i, ok := texts[s]
		if !ok {
			i = int64(len(list))
			texts[s] = i
			list = append(list, s)
		}
		return i
	}
	for _, t := range p.Types {
		var v writer
		v.num(1, text(t.Type))
		v.num(2, text(t.Unit))
		w.bytes(1, v.b)
	}
	type fn struct{ name, file string }
	funcs, locs := map[fn]int64{}, map[Frame]int64{}
	var tail writer
	for _, s := range p.Samples {
		var v, ids, values writer
		for _, f := range s.Stack {
			id, ok := locs[f]
			if !ok {
				k := fn{f.Func, f.File}
				if funcs[k] == 0 {
					funcs[k] = int64(len(funcs) + 1)
					var x writer
					x.num(1, funcs[k])
					x.num(2, text(f.Func))
					x.num(3, text(f.Func))
					x.num(4, text(f.File))
					tail.bytes(5, x.b)
				}
				id = int64(len(locs) + 1)
				locs[f] = id
				var x, line writer
				line.num(1, funcs[k])
				line.num(2, f.Line)
				x.num(1, id)
				x.bytes(4, line.b)
				tail.bytes(4, x.b)
			}
			ids.b = binary.AppendUvarint(ids.b, uint64(id))
		}
		for _, n := range s.Values {
			values.b = binary.AppendUvarint(values.b, uint64(n))
		}
		v.bytes(1, ids.b)
		v.bytes(2, values.b)
		w.bytes(2, v.b)
	}
	w.b = append(w.b, tail.b...)
	var comments []int64
	for _, c := range p.Comments {
		comments = append(comments, text(c))
	}
	for _, s := range list {
		w.bytes(6, []byte(s))
	}
	w.num(10, p.Duration)
	for _, c := range comments {
		w.num(13, c)
	}
	z := gzip.NewWriter(out)
	if _, err := z.Write(w.b); err != nil {
		return err
	}
	return z.Close()
}

var errFormat = errs.New(errs.Invalid, "profile: not the format of pprof")

// field splits off a field: a number, or bytes.
func field(b []byte) (id int, num uint64, data, rest []byte, err error) {
	key, k := binary.Uvarint(b)
	if k <= 0 || key>>3 == 0 || key>>3 > 1000 {
		return 0, 0, nil, nil, errFormat
	}
	b = b[k:]
	n := uint64(0)
	switch key & 7 {
	case 0, 2:
		if n, k = binary.Uvarint(b); k <= 0 {
			return 0, 0, nil, nil, errFormat
		}
		b = b[k:]
		if key&7 == 2 {
			if n > uint64(len(b)) {
				return 0, 0, nil, nil, errFormat
			}
			data, b = b[:n:n], b[n:]
		}
	case 1, 5:
		size := 8
		if key&7 == 5 {
			size = 4
		}
		if len(b) < size {
			return 0, 0, nil, nil, errFormat
		}
		b = b[size:]
	default:
		return 0, 0, nil, nil, errFormat
	}
	return int(key >> 3), n, data, b, nil
}

// each calls fn for every field.
func each(b []byte, fn func(id int, num uint64, data []byte) error) error {
	for len(b) > 0 {
		id, num, data, rest, err := field(b)
		if err == nil {
			err = fn(id, num, data)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// numbers reads a repeated number, which may be packed.
func numbers(list []uint64, num uint64, data []byte) ([]uint64, error) {
	if data == nil {
		return append(list, num), nil
	}
	for len(data) > 0 {
		n, k := binary.Uvarint(data)
		if k <= 0 {
			return nil, errFormat
		}
		list, data = append(list, n), data[k:]
	}
	return list, nil
}

// Parse reads a profile, gzipped or not.
func Parse(b []byte) (*Profile, error) {
	if len(b) > 2 && b[0] == 0x1f && b[1] == 0x8b {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, errFormat
		}
		if b, err = io.ReadAll(io.LimitReader(z, maxProfile)); err != nil {
			return nil, errFormat
		}
	}
	type fn struct{ name, file uint64 }
	type line struct {
		fn   uint64
		line int64
	}
	p := &Profile{}
	var texts []string
	var types [][2]uint64
	funcs, locs := map[uint64]fn{}, map[uint64][]line{}
	type sample struct {
		ids    []uint64
		values []int64
	}
	var samples []sample
	err := each(b, func(id int, num uint64, data []byte) error {
		var err error
		switch id {
		case 1:
			var t [2]uint64
			err = each(data, func(id int, num uint64, _ []byte) error {
				if id == 1 || id == 2 {
					t[id-1] = num
				}
				return nil
			})
			types = append(types, t)
		case 2:
			var s sample
			var values []uint64
			err = each(data, func(id int, num uint64, data []byte) (err error) {
				switch id {
				case 1:
					s.ids, err = numbers(s.ids, num, data)
				case 2:
					values, err = numbers(values, num, data)
				}
				return err
			})
			for _, v := range values {
				s.values = append(s.values, int64(v))
			}
			samples = append(samples, s)
		case 4:
			var at uint64
			var ls []line
			err = each(data, func(id int, num uint64, data []byte) error {
				if id == 1 {
					at = num
				} else if id == 4 {
					var l line
					if err := each(data, func(id int, num uint64, _ []byte) error {
						if id == 1 {
							l.fn = num
						} else if id == 2 {
							l.line = int64(num)
						}
						return nil
					}); err != nil {
						return err
					}
					ls = append(ls, l)
				}
				return nil
			})
			locs[at] = ls
		case 5:
			var at uint64
			var f fn
			err = each(data, func(id int, num uint64, _ []byte) error {
				switch id {
				case 1:
					at = num
				case 2:
					f.name = num
				case 4:
					f.file = num
				}
				return nil
			})
			funcs[at] = f
		case 6:
			texts = append(texts, string(data))
		case 10:
			p.Duration = int64(num)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	text := func(i uint64) string {
		if i < uint64(len(texts)) {
			return texts[i]
		}
		return ""
	}
	for _, t := range types {
		p.Types = append(p.Types, ValueType{text(t[0]), text(t[1])})
	}
	frames := 0
	for _, s := range samples {
		if len(s.values) != len(types) {
			return nil, errFormat
		}
		x := Sample{Values: s.values}
		for _, id := range s.ids {
			if frames += len(locs[id]); frames > maxFrames {
				return nil, errs.New(errs.TooBig, "profile: more than %d frames", maxFrames)
			}
			for _, l := range locs[id] {
				f := funcs[l.fn]
				x.Stack = append(x.Stack, Frame{text(f.name), text(f.file), l.line})
			}
		}
		p.Samples = append(p.Samples, x)
	}
	return p, nil
}
