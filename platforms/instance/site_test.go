package instance

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestSite makes a place once, and removes it once, whatever fails on the way.
func TestSite(t *testing.T) {
	var s Site[string]
	gone := func(_ context.Context, _ *string, id string) error { return errors.New(id + " stays") }
	if err := s.Close("cloud", gone); err != nil {
		t.Errorf("nothing to close: %v", err)
	}
	if _, err := s.Place(func() (*string, error) { return nil, errors.New("no network") }); err == nil {
		t.Error("a place that was not made")
	}
	made := 0
	for range 2 {
		if p, err := s.Place(func() (*string, error) { made++; return new("here"), nil }); err != nil || *p != "here" {
			t.Errorf("%v, %v", p, err)
		}
	}
	s.Ending("i-1")
	cleaned := 0
	clean := func(_ context.Context, p *string) error {
		cleaned++
		return errors.New(*p + " too")
	}
	err := s.Close("cloud", gone, clean, clean)
	if made != 1 || cleaned != 2 || err == nil || !strings.HasPrefix(err.Error(), "cloud: clean up (bake gc does it later): i-1 stays\nhere too") {
		t.Errorf("made %d, cleaned %d: %v", made, cleaned, err)
	}
	if err := s.Close("cloud", gone, clean); err != nil || cleaned != 2 {
		t.Errorf("closed again: %v", err)
	}
}
