package lang

import (
	"strconv"
	"strings"

	"github.com/janos-os/janos/errs"
)

const arMagic = "!<arch>\n"

// Source returns the configuration text in data, which is that text itself or an ar(1) archive
// with a member "config". Other members are ignored.
func Source(data string) (string, error) {
	if !strings.HasPrefix(data, arMagic) {
		return data, nil
	}
	const header = 60
	for rest := data[len(arMagic):]; len(rest) >= header; {
		name := strings.TrimSuffix(strings.TrimRight(rest[:16], " "), "/")
		size, err := strconv.ParseUint(strings.TrimSpace(rest[48:58]), 10, 31)
		rest = rest[header:]
		if err != nil || size > uint64(len(rest)) {
			return "", errs.New(errs.Corrupt, "archive: member '%s' is longer than the archive", clip(name))
		}
		n := int(size)
		if k, ok := strings.CutPrefix(name, "#1/"); ok { // BSD: the name precedes the data
			m, err := strconv.Atoi(k)
			if err != nil || m < 0 || m > n {
				return "", errs.New(errs.Corrupt, "archive: bad member name '%s'", clip(name))
			}
			if strings.TrimRight(rest[:m], "\x00") == "config" {
				return rest[m:n], nil
			}
		} else if name == "config" {
			return rest[:n], nil
		}
		rest = rest[min(n+n%2, len(rest)):]
	}
	return "", errs.New(errs.NotFound, "archive: no member 'config'")
}
