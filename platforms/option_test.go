package platforms

import (
	"reflect"
	"strings"
	"testing"
)

type login struct {
	User  string `bake:"user" json:"user,omitempty" help:"Who." default:"root" deprecated:"Log in as root."`
	Token Secret `bake:"token" json:"token,omitempty" help:"What."`
}

type deep struct {
	Token string `bake:"token" json:"token,omitempty" help:"Another."`
	login `defaults:"user=admin, or the image's"`
	Wait  string   `bake:"wait,duration" json:"wait,omitempty" help:"How long." default:"1m"`
	Kinds []string `bake:"kinds,set,required,keyword" json:"kinds,omitempty" help:"Which." choices:"a|b"`
}

// TestFields reads embedded structs: where their fields stand, what hides them and
// what they show as defaults.
func TestFields(t *testing.T) {
	var got []string
	for _, o := range Options(reflect.TypeFor[deep]()) {
		line := o.Name + " " + string(o.Kind) + " " + o.Default
		if o.IsSet && o.Required && o.Keyword {
			line += strings.Join(o.Choices, "|")
		}
		got = append(got, line)
		field := reflect.TypeFor[deep]().FieldByIndex(o.Index)
		if o.Type != field.Type || field.Tag.Get("help") != o.Help || field.Tag.Get("deprecated") != o.Deprecated {
			t.Errorf("%s: index %v is that of %s", o.Name, o.Index, field.Name)
		}
	}
	want := []string{"token string ", "user string admin, or the image's", "wait duration 1m", "kinds list of strings a|b"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFieldsPanics refuses structs that cannot be declared.
func TestFieldsPanics(t *testing.T) {
	for name, typ := range map[string]reflect.Type{
		"unknown flag": reflect.TypeFor[struct {
			A string `bake:"a,fast" json:"a,omitempty" help:"A."`
		}](),
		"needs the tags": reflect.TypeFor[struct {
			A string `bake:"a" json:"a,omitempty"`
		}](),
		"a type that can be an option": reflect.TypeFor[struct {
			A *string `bake:"a" json:"a,omitempty" help:"A."`
		}](),
		"needs the tag json": reflect.TypeFor[struct {
			A string `bake:"a" json:"b,omitempty" help:"A."`
		}](),
		"which it does not have": reflect.TypeFor[struct {
			login `defaults:"name=x"`
		}](),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if got, ok := recover().(string); !ok || !strings.Contains(got, name) {
					t.Errorf("panicked with %q", got)
				}
			}()
			Options(typ)
		})
	}
}
