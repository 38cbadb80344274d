package remote_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/remote"
)

// TestPolicies has a policy for each choice of the option checkpoint, and none besides.
func TestPolicies(t *testing.T) {
	options := platforms.Options(reflect.TypeFor[remote.Options]())
	i := slices.IndexFunc(options, func(o platforms.Option) bool { return o.Name == "checkpoint" })
	policies := map[string]remote.Policy{"": remote.WhereWorth, "long-steps": remote.WhereWorth, "every-step": remote.EveryStep, "last": remote.WhereUsed}
	if got := len(options[i].Choices); got != len(policies)-1 {
		t.Errorf("%d choices: %v", got, options[i].Choices)
	}
	for _, choice := range append(options[i].Choices, "") {
		want, ok := policies[choice]
		if got := (remote.Options{Checkpoint: choice}).Policy(); !ok || got != want {
			t.Errorf("checkpoint %q is the policy %q, want %q", choice, got, want)
		}
	}
}

// ofProject tells whose unused layers are asked for.
type ofProject struct {
	toy
	asked []string
}

func (p *ofProject) Unused(ctx context.Context, place, project string) ([]remote.Layer, error) {
	p.asked = append(p.asked, place+" "+project)
	return p.toy.Unused(ctx, place, project)
}

// acme is the ledger of a project's build.
type acme struct{ platforms.Ledger }

func (acme) Project() string { return "acme" }

// TestExpire removes layers that were not used for as long as the option says, and asks
// for none without it.
func TestExpire(t *testing.T) {
	now := time.Now()
	p := &ofProject{toy: toy{layers: []remote.Layer{
		layer("old", "old", now.Add(-90*time.Hour), now.Add(-80*time.Hour)), layer("new", "new", now.Add(-90*time.Hour), now),
	}}}
	c := &remote.Cache{Layers: p}
	for _, keep := range []string{"", "72h"} {
		if err := (remote.Options{LayersKeep: keep}).Expire(t.Context(), c, "here", acme{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(p.asked); got != "[here acme]" || len(p.layers) != 1 || p.layers[0].Ref != "new" {
		t.Errorf("asked for %s, and %v is left", got, p.layers)
	}
	if err := (remote.Options{LayersKeep: "3 weeks"}).Check(); err == nil || !strings.HasPrefix(err.Error(), "layers_keep: ") {
		t.Errorf("a wrong duration: %v", err)
	}
	if err := (remote.Options{LayersKeep: "72h"}).CheckProject(""); err == nil {
		t.Error("layers of no project are removed")
	}
}
