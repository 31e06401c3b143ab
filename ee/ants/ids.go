package ants

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/janos-os/janos/errs"
)

// The fingerprints are SHA-256 over a label and the named parts, truncated to 128 bits. The labels keep
// the four kinds apart: no byte string that is code can be mistaken for a list of ids. docs/wire-ants.md
// has a worked example.
type (
	// CodeID names the code of a capsule class.
	CodeID [16]byte
	// GroupID names a code group: the set of its code ids.
	GroupID [16]byte
	// ProtocolID names a protocol: the set of its group ids.
	ProtocolID [16]byte
	// MethodID names a capsule class as a member of its group and protocol. It travels in the capsule header.
	MethodID [16]byte
)

const (
	labelCode     = "janos/ants/code/1\x00"
	labelGroup    = "janos/ants/group/1\x00"
	labelProtocol = "janos/ants/protocol/1\x00"
	labelMethod   = "janos/ants/method/1\x00"
	labelBuiltin  = "janos/ants/builtin/1\x00"
)

func fingerprint(label string, parts ...[]byte) (id [16]byte) {
	h := sha256.New()
	h.Write([]byte(label))
	for _, p := range parts {
		h.Write(p)
	}
	copy(id[:], h.Sum(nil))
	return id
}

// CodeIDOf returns the id of a module's bytes.
func CodeIDOf(code []byte) CodeID { return CodeID(fingerprint(labelCode, code)) }

// GroupIDOf returns the id of a group of classes; their order does not matter.
func GroupIDOf(codes []CodeID) GroupID {
	return GroupID(fingerprint(labelGroup, sortedBytes(codes)))
}

// ProtocolIDOf returns the id of a protocol of groups; their order does not matter.
func ProtocolIDOf(groups []GroupID) ProtocolID {
	return ProtocolID(fingerprint(labelProtocol, sortedBytes(groups)))
}

// MethodIDOf returns the id of a class in a group and a protocol.
func MethodIDOf(c CodeID, g GroupID, p ProtocolID) MethodID {
	return MethodID(fingerprint(labelMethod, c[:], g[:], p[:]))
}

// builtinID names a capsule class that every node has in itself. The version in the name changes with behaviour.
func builtinID(name string) MethodID { return MethodID(fingerprint(labelBuiltin, []byte(name))) }

func sortedBytes[T ~[16]byte](ids []T) []byte {
	s := slices.Clone(ids)
	slices.SortFunc(s, func(a, b T) int { return bytes.Compare(a[:], b[:]) })
	out := make([]byte, 0, 16*len(s))
	for _, id := range s {
		out = append(out, id[:]...)
	}
	return out
}

// String returns the id in hexadecimal.
func (id CodeID) String() string { return hex.EncodeToString(id[:]) }

// String returns the id in hexadecimal.
func (id GroupID) String() string { return hex.EncodeToString(id[:]) }

// String returns the id in hexadecimal.
func (id ProtocolID) String() string { return hex.EncodeToString(id[:]) }

// String returns the id in hexadecimal.
func (id MethodID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText makes ids readable in JSON.
func (id CodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText makes ids readable in JSON.
func (id GroupID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText makes ids readable in JSON.
func (id ProtocolID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText makes ids readable in JSON.
func (id MethodID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseMethodID is the inverse of MethodID.String.
func ParseMethodID(s string) (id MethodID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, errs.New(errs.Invalid, "method id %.40q: want 32 hexadecimal digits", s)
	}
	copy(id[:], b)
	return id, nil
}

// UnmarshalText is the inverse of MarshalText.
func (id *MethodID) UnmarshalText(b []byte) error {
	v, err := ParseMethodID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// UnmarshalText is the inverse of MarshalText.
func (id *CodeID) UnmarshalText(b []byte) error { return unmarshalID(id[:], "code", b) }

// UnmarshalText is the inverse of MarshalText.
func (id *GroupID) UnmarshalText(b []byte) error { return unmarshalID(id[:], "group", b) }

// UnmarshalText is the inverse of MarshalText.
func (id *ProtocolID) UnmarshalText(b []byte) error { return unmarshalID(id[:], "protocol", b) }

func unmarshalID(id []byte, what string, text []byte) error {
	if n, err := hex.Decode(id, text[:min(len(text), 2*len(id))]); err != nil || len(text) != 2*len(id) || n != len(id) {
		return errs.New(errs.Invalid, "%s id %.40q: want %d hexadecimal digits", what, text, 2*len(id))
	}
	return nil
}
