//go:build race || !(amd64 || arm64)

package packet

// put sets the word of a frame that nobody else may change; store_unsafe.go says more.
func (f *frame) put(w uint64) { f.word.Store(w) }
