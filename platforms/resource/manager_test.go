package resource_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// TestOrphans looks in three places, one of which a policy denies: what is old enough
// comes in the order in which it can be removed.
func TestOrphans(t *testing.T) {
	now := time.Now()
	denied := errors.New("denied")
	there := map[string][]resource.Found{
		"east": {{Kind: "network", ID: "n", Build: "b"}, {Kind: "machine", ID: "m2", Build: "b", Made: now.Add(-time.Hour)}},
		"west": {{Kind: "machine", ID: "m1", Build: "c", Made: now.Add(-time.Hour)}, {Kind: "machine", ID: "running", Build: "d", Made: now}},
	}
	m := &resource.Manager{
		Platform: "toy", Options: []byte("{}"), Identify: func(context.Context) (string, error) { return "me", nil },
		Kinds: []resource.Kind{{Name: "machine"}, {Name: "network"}},
		Places: resource.Places{
			List:   func(context.Context) (string, []string, error) { return "east", []string{"east", "north", "west"}, nil },
			Denied: func(err error) bool { return errors.Is(err, denied) },
		},
		Tagged: func(_ context.Context, place string) ([]resource.Found, error) {
			if place == "north" {
				return nil, denied
			}
			return there[place], nil
		},
	}
	orphans := func() (string, error) {
		list, err := m.Orphans(t.Context(), now.Add(-time.Minute))
		var got []string
		for _, r := range list {
			got = append(got, strings.Join([]string{r.Platform, r.Account, r.Place, r.Kind, r.ID, r.Build, string(r.Options)}, " "))
		}
		return strings.Join(got, "; "), err
	}
	got, err := orphans()
	if want := "toy me east machine m2 b {}; toy me west machine m1 c {}; toy me east network n b {}"; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	unseen, rest := platforms.SplitUnseen(err)
	if len(unseen) != 1 || unseen[0].Place != "north" || rest != nil {
		t.Errorf("unseen %v, and %v", unseen, rest)
	}

	// In the driver's own place, nothing at all could be done.
	m.Places.List = func(context.Context) (string, []string, error) { return "north", []string{"north"}, nil }
	if _, err = orphans(); !errors.Is(err, denied) {
		t.Errorf("its own place: %v", err)
	} else if unseen, _ := platforms.SplitUnseen(err); len(unseen) != 0 {
		t.Errorf("its own place is one that it need not see: %v", unseen)
	}
	if _, err := m.Collect(t.Context(), platforms.Resource{Kind: "dragon"}); err == nil || fmt.Sprint(err) != `toy: no resource is called "dragon"` {
		t.Errorf("an unknown kind: %v", err)
	}
}
