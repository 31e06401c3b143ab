package ants

import (
	"time"

	"github.com/janos-os/janos/errs"
)

// Limits bound what capsules can make an EE hold and do, beside the accounts. Zero stands for the default.
type Limits struct {
	Protocols    int           // protocols on the node, those being loaded included; default 64
	Loading      int           // protocols being loaded at one time; half as many for one previous hop; default 8
	LoadRate     int           // loads begun in a second; default 50
	Queue        int           // capsules that wait for their protocol's turn; default 256
	Waiting      int           // capsules that wait for their code; default 64
	WaitingBytes int           // bytes of them; default 64 KiB
	LoadTimeout  time.Duration // until a request is repeated; default 250 ms
	LoadTries    int           // requests in a row without any answer; default 3
	LoadTotal    time.Duration // a load that takes longer fails; default 10 s
	LoadWindow   int           // chunks asked for at once, at most 32; default 16
	Negative     time.Duration // how long a method is refused whose load failed; default 5 s
	Refused      int           // methods that are remembered as refused; default 1024
	Strikes      int           // faults within StrikeWindow that end a protocol's domain; default 32
	StrikeWindow time.Duration // default 10 s
	Penalty      time.Duration // how long the methods of a domain ended for its faults are refused; default 60 s
	Idle         time.Duration // a protocol that was loaded and not used for so long is forgotten; default 10 min
	ServeRate    int           // responses to load requests in a second; default 2000
	ErrorRate    int           // error capsules sent in a second; default 100
	EventRate    int           // events of kills and received errors in a second; default 50
	StateEntries int           // soft-state values of a protocol; default 4096
	StateLife    time.Duration // lifetime of a value whose capsule names none; default 5 min
	MaxCredit    uint32        // what a capsule brings above this does not count; default 65536
	Kills        int           // kills that are remembered; default 256
}

func (l *Limits) fill() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Protocols, 64)
	def(&l.Loading, 8)
	def(&l.LoadRate, 50)
	def(&l.Queue, 256)
	def(&l.Waiting, 64)
	def(&l.WaitingBytes, 64<<10)
	dur(&l.LoadTimeout, 250*time.Millisecond)
	def(&l.LoadTries, 3)
	dur(&l.LoadTotal, 10*time.Second)
	def(&l.LoadWindow, 16)
	dur(&l.Negative, 5*time.Second)
	def(&l.Refused, 1024)
	def(&l.Strikes, 32)
	dur(&l.StrikeWindow, 10*time.Second)
	dur(&l.Penalty, time.Minute)
	dur(&l.Idle, 10*time.Minute)
	def(&l.ServeRate, 2000)
	def(&l.ErrorRate, 100)
	def(&l.EventRate, 50)
	def(&l.StateEntries, 4096)
	dur(&l.StateLife, 5*time.Minute)
	def(&l.Kills, 256)
	if l.MaxCredit == 0 {
		l.MaxCredit = 1 << 16
	}
	for _, v := range []int{l.Protocols, l.Loading, l.LoadRate, l.Queue, l.Waiting, l.WaitingBytes, l.LoadTries, l.LoadWindow, l.Refused, l.Strikes,
		l.ServeRate, l.ErrorRate, l.EventRate, l.StateEntries, l.Kills} {
		if v < 1 || v > 1<<24 {
			return errs.New(errs.Invalid, "ants: limit %d, want 1 to %d", v, 1<<24)
		}
	}
	for _, d := range []time.Duration{l.LoadTimeout, l.LoadTotal, l.Negative, l.StrikeWindow, l.Penalty, l.Idle, l.StateLife} {
		if d < 0 {
			return errs.New(errs.Invalid, "ants: limit of %s, want a positive time", d)
		}
	}
	if l.LoadWindow > windowChunks {
		return errs.New(errs.Invalid, "ants: load window of %d chunks, at most %d", l.LoadWindow, windowChunks)
	}
	return nil
}
