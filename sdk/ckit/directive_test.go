package ckit

import (
	"reflect"
	"strings"
	"testing"

	"github.com/janos-os/janos/errs"
)

func TestFileOptions(t *testing.T) {
	for src, want := range map[string]Options{
		"":                           {},
		"int x;":                     {},
		"/* janos:build pages=16 */": {Pages: 16},
		"/* a\n * janos:build stack=64 pages=2\n */":             {Pages: 2, Stack: 64},
		strings.Repeat("\n", 50) + "janos:build pages=2":         {},
		"/* janos:build pages=2 */\n# include <janos_element.h>": {Pages: 2, Element: true},
		"/* not janos_element.h */":                              {},
	} {
		if got, err := FileOptions("x.c", []byte(src)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", src, got, err, want)
		}
	}
	for _, src := range []string{"\n// janos:build pages=0", "\n// janos:build pages", "\n// janos:build stack=17", "\n// janos:build flags=-O3"} {
		_, err := FileOptions("x.c", []byte(src))
		if errs.KindOf(err) != errs.Invalid || !strings.HasPrefix(err.Error(), "x.c:2:16: ") {
			t.Errorf("%q: %v", src, err)
		}
	}
}
