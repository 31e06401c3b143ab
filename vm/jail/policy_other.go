//go:build !amd64 && !arm64

package jail

// There is no list for this processor, and no jail.
const (
	auditArch = 0
	x32Bit    = 0
)

var numbers = map[string]uint32{}
