package click

import (
	"fmt"
	"testing"
	"time"
)

func TestValues(t *testing.T) {
	var (
		i  int
		u  uint64
		ok bool
		f  float64
		d  time.Duration
		m  [6]byte
		p  uint16
	)
	for _, c := range []struct {
		v    Value
		get  func() string
		in   string
		want string // empty: refused
	}{
		{Int(&i), func() string { return fmt.Sprint(i) }, "0x1f", "31"},
		{Int(&i), func() string { return fmt.Sprint(i) }, "-017", "-15"},
		{Int(&i), func() string { return fmt.Sprint(i) }, `"5"`, "5"},
		{Int(&i), nil, "5x", ""},
		{Int(&i), nil, "", ""},
		{IntRange(&i, 0, 3), nil, "4", ""},
		{Uint64(&u), func() string { return fmt.Sprint(u) }, "18446744073709551615", "18446744073709551615"},
		{Uint64(&u), nil, "-1", ""},
		{Bool(&ok), func() string { return fmt.Sprint(ok) }, "yes", "true"},
		{Bool(&ok), nil, "maybe", ""},
		{Fraction(&f), func() string { return fmt.Sprint(f) }, "5%", "0.05"},
		{Fraction(&f), nil, "1.5", ""},
		{Fraction(&f), nil, "NaN", ""},
		{Fixed(&u, 8), func() string { return fmt.Sprint(u) }, "1.5", "384"},
		{Fixed(&u, 8), nil, "-1", ""},
		{Fixed(&u, 8), nil, "1e300", ""},
		{Duration(&d), func() string { return d.String() }, "1.5ms", "1.5ms"},
		{Duration(&d), func() string { return d.String() }, "2", "2s"},
		{Duration(&d), func() string { return d.String() }, "3 min", "3m0s"},
		{Duration(&d), nil, "3 days", ""},
		{Duration(&d), nil, "-1s", ""},
		{Duration(&d), nil, "1e30", ""},
		{Bandwidth(&u), func() string { return fmt.Sprint(u) }, "8Mbps", "1000000"},
		{Bandwidth(&u), func() string { return fmt.Sprint(u) }, "2kBps", "2000"},
		{Bandwidth(&u), func() string { return fmt.Sprint(u) }, "1500", "1500"},
		{Bandwidth(&u), nil, "1Tbps", ""},
		{Bandwidth(&u), nil, "fast", ""},
		{Ether(&m), func() string { return fmt.Sprintf("%x", m) }, "0-a0-c9-9c-fd-9c", "00a0c99cfd9c"},
		{Ether(&m), nil, "0:a0:c9:9c:fd", ""},
		{Ether(&m), nil, "0:a0:c9:9c:fd:100", ""},
		{Ether(&m), nil, ":::::0:1:2:3:4:5", ""},
		{Port(&p), func() string { return fmt.Sprint(p) }, "dns", "53"},
		{Port(&p), nil, "70000", ""},
	} {
		err := c.v(c.in, nil)
		if c.want == "" {
			if err == nil {
				t.Errorf("%q was accepted", c.in)
			}
			continue
		}
		if err != nil || c.get() != c.want {
			t.Errorf("%q = %s, %v, want %s", c.in, c.get(), err, c.want)
		}
	}
	for in, want := range map[string]string{
		"18.26/16": "18.26.0.0/16", "10.0.0.1": "10.0.0.1/32", "10.0.0.0/255.255.0.0": "10.0.0.0/16", "2001:db8::/32": "2001:db8::/32",
		"10.0.0.0/255.0.255.0": "", "10.0.0/33": "", "x/8": "", "10.0.0.0/-1": "", "2001:db8::/255.0.0.0": "", "/8": "",
	} {
		got, err := ParsePrefix(in)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("prefix %q = %v, %v, want %q", in, got, err, want)
		}
	}
}

func TestCodes(t *testing.T) {
	for _, s := range []string{"", "1-", "2-1/1", "x/1", "1/"} {
		if _, err := parsePorts(s); (err == nil) != (s == "1-") {
			t.Errorf("ports %q: %v", s, err)
		}
	}
	for s, good := range map[string]bool{"": false, "a/": false, "x": false, "h/l": true, "a/ah": true} {
		if _, err := parseProcessing(s); (err == nil) != good {
			t.Errorf("processing %q: %v", s, err)
		}
	}
	for _, c := range []struct {
		code string
		want string // for inputs 0, 1 and outputs 0, 1
	}{
		{"", "1111"}, {"x/y", "0000"}, {"xy/x", "1100"}, {"#/#", "1001"}, {"xy/yx", "0110"}, {"x[^x]/xy", "1001"}, {"[xy]z/xz", "1001"},
	} {
		f, err := parseFlow(c.code)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for in := range 2 {
			for out := range 2 {
				got += map[bool]string{true: "1", false: "0"}[f.linked(in, out)]
			}
		}
		if got != c.want {
			t.Errorf("flow %q links %s, want %s", c.code, got, c.want)
		}
	}
	for _, s := range []string{"/", "[x/x", "1/x", "[1]/x"} {
		if _, err := parseFlow(s); err == nil {
			t.Errorf("flow %q was accepted", s)
		}
	}
}
