module example.org/janos-resctl

go 1.26.0

require github.com/janos-os/janos v0.0.0

replace github.com/janos-os/janos => ../../..
