// Command resctl uses Janos's accounts and scheduler alone: two tenants at shares 1:3, one with a limit.
package main

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/janos-os/janos/clock"
	"github.com/janos-os/janos/resctl"
)

func main() {
	clk := clock.NewVirtual(time.Time{})
	root, err := resctl.NewTree(resctl.Spec{Name: "machine"}, clk, 1)
	if err != nil {
		log.Fatal(err)
	}
	a, err := root.NewChild(resctl.Spec{Name: "a", Share: 100, Limit: resctl.Amounts{resctl.Memory: 1 << 20}})
	if err != nil {
		log.Fatal(err)
	}
	b, err := root.NewChild(resctl.Spec{Name: "b", Share: 300})
	if err != nil {
		log.Fatal(err)
	}

	// Memory is refused before it is taken, and the refusal says whose limit it was.
	if err := a.Take(resctl.Memory, 800<<10); err != nil {
		log.Fatal(err)
	}
	var refusal *resctl.Refusal
	if err := a.Take(resctl.Memory, 800<<10); !errors.As(err, &refusal) {
		log.Fatalf("the second 800 KiB of one MiB were not refused: %v", err)
	}
	fmt.Println(refusal)

	// Time is divided by shares, whatever the runs cost.
	s := resctl.NewScheduler(root, 0)
	s.Wake(s.NewEntity(a))
	s.Wake(s.NewEntity(b))
	for range 4000 {
		e, _ := s.Pick(clk.Now())
		cost := time.Microsecond
		if e.Account() == a {
			cost = 7 * time.Microsecond
		}
		clk.Advance(cost)
		e.Account().Spend(resctl.CPU, int64(cost))
		s.Charge(e, cost)
	}
	ratio := float64(b.Use(resctl.CPU)) / float64(a.Use(resctl.CPU))
	fmt.Printf("b had %.2f times the time of a\n", ratio)
	if ratio < 2.9 || ratio > 3.1 {
		log.Fatal("the shares are 1:3")
	}
}
