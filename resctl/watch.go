package resctl

// memoryWatch is who is told of an account's memory.
type memoryWatch struct {
	refused  func(asked, use, limit int64)
	returned func(use int64)
}

// WatchMemory makes a tell when its own limit has refused bytes of Memory, with what was in use and the limit, and when bytes have
// been given back, with what is in use since. Setting it again replaces who is told. Both functions run inside the
// request, on the requester's goroutine, possibly several at once and with locks of accounts held: they must not
// block, and must not call methods of accounts.
//
// There is none for other resources: workers take frames and fuel on credit, which would be told as use.
func (a *Account) WatchMemory(refused func(asked, use, limit int64), returned func(use int64)) {
	a.watch.Store(&memoryWatch{refused, returned})
}
