package hypervisor

import (
	"errors"
	"testing"
)

type parkedMachine struct {
	State
	ended int
}

func (m *parkedMachine) End() error { m.ended++; return nil }

// TestParking gives back what was parked, once, and ends what is too much or of no use.
func TestParking(t *testing.T) {
	var p Parking[*parkedMachine]
	if m, err := p.Take("a"); m != nil || err != nil {
		t.Errorf("nothing is parked: %v, %v", m, err)
	}
	all := make([]*parkedMachine, 6)
	for i := range all {
		all[i] = &parkedMachine{}
	}
	put := func(ref string, i int) {
		t.Helper()
		if err := p.Put(ref, all[i]); err != nil {
			t.Error(err)
		}
	}
	put("a", 0)
	put("a", 1) // the place is taken
	put("b", 2)
	put("c", 3) // the oldest goes
	all[2].Fail(errors.New("gone"))
	if m, err := p.Take("b"); m != nil || err != nil {
		t.Errorf("a machine of no use: %v, %v", m, err)
	}
	if m, err := p.Take("c"); m != all[3] || err != nil {
		t.Errorf("parked at c: %v, %v", m, err)
	}
	if m, err := p.Take("c"); m != nil || err != nil {
		t.Errorf("taken twice: %v, %v", m, err)
	}
	put("d", 4)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	put("e", 5) // too late
	for i, want := range []int{1, 1, 1, 0, 1, 1} {
		if all[i].ended != want {
			t.Errorf("machine %d was ended %d times, want %d", i, all[i].ended, want)
		}
	}
}
