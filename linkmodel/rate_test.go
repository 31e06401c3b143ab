package linkmodel

import "testing"

func TestParseRate(t *testing.T) {
	for s, want := range map[string]BitRate{
		"10Mbit": 10e6, "1.5 gbit": 1.5e9, "64kbit": 64e3, "1000bit": 1000,
	} {
		got, err := ParseRate(s)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v", s, got, err)
		}
		if back, err := ParseRate(got.String()); err != nil || back != got {
			t.Errorf("%v does not read back: %v, %v", got, back, err)
		}
	}
	for _, s := range []string{"", "10", "Mbit", "-1Mbit", "1bit", "1e30Gbit", "nanMbit", "10MB"} {
		if r, err := ParseRate(s); err == nil {
			t.Errorf("ParseRate(%q) = %v", s, r)
		}
	}
}

func FuzzParseRate(f *testing.F) {
	for _, s := range []string{"10Mbit", "1.5Gbit", "0x10kbit", "infbit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRate(s); err == nil && (r < MinRate || r > MaxRate) {
			t.Errorf("ParseRate(%q) = %d is out of range", s, r)
		}
	})
}
