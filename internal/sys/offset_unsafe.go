package sys

import "unsafe"

// Offset returns where in region b begins; ok is false when it begins elsewhere, or has no place at all. It follows no pointer, so that any b
// will do, that of an unmapped region too.
func Offset(region, b []byte) (off int, ok bool) {
	if cap(b) == 0 || len(region) == 0 {
		return 0, false
	}
	d := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(region)))
	return int(d), d < uintptr(len(region))
}
