package click

import (
	"fmt"
	"strconv"

	"github.com/janos-os/janos/click/lang"
	"github.com/janos-os/janos/packet"
)

// AnnoByte is a one-byte annotation of packets, by its offset in Click's annotation area. Of that packets here have the paint (PAINT, 16) and
// the bytes from 20 to 33, where 20 to 31 are those of the aggregate, the extra packets and the extra length.
type AnnoByte uint8

// AnnoPaint is the paint annotation.
const AnnoPaint AnnoByte = 16

const firstUserAnno, lastUserAnno = 20, 33

// Get returns the annotation of a packet.
func (k AnnoByte) Get(p *packet.Packet) uint8 {
	if k == AnnoPaint {
		return p.Anno.Paint
	}
	return p.Anno.User[k-firstUserAnno]
}

// Set changes the annotation of a packet.
func (k AnnoByte) Set(p *packet.Packet, v uint8) {
	if k == AnnoPaint {
		p.Anno.Paint = v
		return
	}
	p.Anno.User[k-firstUserAnno] = v
}

// String returns the name or offset.
func (k AnnoByte) String() string {
	if k == AnnoPaint {
		return "PAINT"
	}
	return strconv.Itoa(int(k))
}

// AnnoByteOf parses the name or offset of a one-byte annotation, or a name that AnnotationInfo defined.
func AnnoByteOf(k *AnnoByte) Value {
	return func(s string, a *Args) error {
		text := lang.Unquote(s)
		if v, ok := a.Name(NameAnno, text); ok {
			text = v
		}
		if text == "PAINT" {
			*k = AnnoPaint
			return nil
		}
		n, err := strconv.ParseUint(text, 0, 8)
		if err != nil || n != uint64(AnnoPaint) && (n < firstUserAnno || n > lastUserAnno) {
			return fmt.Errorf("expected PAINT, or the offset %d or %d to %d of a one-byte annotation, not '%s'", AnnoPaint, firstUserAnno, lastUserAnno, s)
		}
		*k = AnnoByte(n)
		return nil
	}
}
