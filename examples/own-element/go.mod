module example.org/own-element

go 1.26.0

require github.com/janos-os/janos v0.0.0

require (
	github.com/cilium/ebpf v0.22.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/janos-os/janos => ../..
