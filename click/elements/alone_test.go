package elements_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/janos-os/janos/click"
	"github.com/janos-os/janos/click/elementtest"
)

// alone starts an element of a class between idle ones.
func alone(t *testing.T, c *click.Class, args string) (*elementtest.Session, error) {
	atLeast := func(s string) int {
		lo, _, _ := strings.Cut(s, "-")
		n, _ := strconv.Atoi(lo)
		return n
	}
	in, out, _ := strings.Cut(c.Ports, "/")
	if out == "" || out == "=" {
		out = in
	}
	config := "x :: " + c.Name + args + ";"
	for i := range atLeast(in) {
		config += " Idle -> [" + strconv.Itoa(i) + "] x;"
	}
	for i := range atLeast(out) {
		config += " x [" + strconv.Itoa(i) + "] -> Idle;"
	}
	return elementtest.New(t, config, elementtest.Options{Frames: 64, Host: true})
}
