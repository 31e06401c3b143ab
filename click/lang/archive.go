package lang

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

const (
	arMagic  = "!<arch>\n"
	arHeader = 60 // bytes before each member
)

// Member is a file in an archive.
type Member struct{ Name, Data string }

// IsArchive reports whether data is an ar(1) archive.
func IsArchive(data string) bool { return strings.HasPrefix(data, arMagic) }

// ReadArchive returns the members of an ar(1) archive, with long names in the manner of BSD and of GNU.
func ReadArchive(data string) ([]Member, error) {
	if !IsArchive(data) {
		return nil, errs.New(errs.Corrupt, "archive: it does not begin with %q", arMagic)
	}
	var members []Member
	long := "" // GNU: the names that did not fit
	for rest := data[len(arMagic):]; len(rest) >= arHeader; {
		name := strings.TrimRight(rest[:16], " ")
		size, err := strconv.ParseUint(strings.TrimSpace(rest[48:58]), 10, 31)
		rest = rest[arHeader:]
		if err != nil || size > uint64(len(rest)) {
			return nil, errs.New(errs.Corrupt, "archive: member '%s' is longer than the archive", clip(name))
		}
		n := int(size)
		body := rest[:n]
		rest = rest[min(n+n%2, len(rest)):]
		switch {
		case strings.HasPrefix(name, "#1/"): // BSD: the name precedes the data
			m, err := strconv.Atoi(name[3:])
			if err != nil || m < 0 || m > n {
				return nil, errs.New(errs.Corrupt, "archive: bad member name '%s'", clip(name))
			}
			name, body = strings.TrimRight(body[:m], "\x00"), body[m:]
		case name == "//":
			long = body
			continue
		case name == "/": // an index of symbols
			continue
		case len(name) > 1 && name[0] == '/':
			at, err := strconv.ParseUint(name[1:], 10, 31)
			if err != nil || at >= uint64(len(long)) {
				return nil, errs.New(errs.Corrupt, "archive: bad member name '%s'", clip(name))
			}
			name, _, _ = strings.Cut(long[at:], "\n")
		}
		members = append(members, Member{strings.TrimSuffix(name, "/"), body})
	}
	return members, nil
}

// WriteArchive returns an ar(1) archive of the members, whose names must not be empty.
func WriteArchive(members []Member) string {
	var b strings.Builder
	b.WriteString(arMagic)
	for _, m := range members {
		name, extra := m.Name+"/", ""
		if len(name) > 16 || strings.ContainsAny(m.Name, " /") {
			name, extra = "#1/"+strconv.Itoa(len(m.Name)), m.Name
		}
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n%s%s", name, 0, 0, 0, 0o644, len(extra)+len(m.Data), extra, m.Data)
		if (len(extra)+len(m.Data))%2 != 0 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Source returns the configuration text in data, which is that text itself or an ar(1) archive
// with a member "config". Other members are ignored.
func Source(data string) (string, error) {
	if !IsArchive(data) {
		return data, nil
	}
	members, err := ReadArchive(data)
	for _, m := range members {
		if m.Name == "config" {
			return m.Data, nil
		}
	}
	if err != nil {
		return "", err
	}
	return "", errs.New(errs.NotFound, "archive: no member 'config'")
}
