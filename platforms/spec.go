package platforms

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// A Spec declares a platform.
type Spec struct {
	Name    string // the constructor's name in definitions
	Doc     string // one paragraph for the reference
	Options []Option
	Origin  []Option // the options of source() on this platform

	// Boots says that its machines have a kernel and a disk of their own: they
	// can be restarted, a layer leaves as the disk that it is, and no machine
	// needs rights on this host.
	Boots bool

	// Publishes says that its driver is a Publisher, and Publication are the
	// options of export() there.
	Publishes   bool
	Publication []Option

	// CheckOptions, CheckOrigin and CheckPublication say what is wrong in themselves
	// with options, given as canonical JSON, so that a mistake is told at its line.
	CheckOptions, CheckOrigin, CheckPublication func(options json.RawMessage) error

	// New makes a driver from the canonical JSON of the constructor's options.
	New func(options json.RawMessage, h Host) (Driver, error)
}

// Declare makes the Spec of a platform whose constructor's options are the
// fields of O and whose source() options are the fields of S, both structs.
// See Options for the tags. Where a struct is an OptionChecker, its options are
// checked when they are given. It panics on a struct that cannot be declared.
func Declare[O, S any](name, doc string, open func(options O, h Host) (Driver, error)) Spec {
	return Spec{
		Name:    name,
		Doc:     doc,
		Options: Options(reflect.TypeFor[O]()),
		Origin:  Options(reflect.TypeFor[S]()),

		CheckOptions: checker[O](), CheckOrigin: checker[S](),

		New: func(options json.RawMessage, h Host) (Driver, error) {
			var o O
			if len(options) > 0 {
				if err := json.Unmarshal(options, &o); err != nil {
					return nil, fmt.Errorf("%s: options: %w", name, err)
				}
			}
			return open(o, h)
		},
	}
}

// An OptionChecker is a struct of options that knows what is wrong with them in
// themselves.
type OptionChecker interface{ Check() error }

// checker returns what checks the options of the struct T.
func checker[T any]() func(json.RawMessage) error {
	return func(options json.RawMessage) error {
		var o T
		c, ok := any(&o).(OptionChecker)
		if !ok {
			return nil
		}
		if len(options) > 0 {
			if err := json.Unmarshal(options, &o); err != nil {
				return fmt.Errorf("options: %w", err)
			}
		}
		return c.Check()
	}
}

// A Kind is the type of an option's value.
type Kind string

// The kinds of options. A duration is a string such as "90s"; a size is a
// string such as "4G", in bytes with binary suffixes.
const (
	String   Kind = "string"
	Bool     Kind = "bool"
	Int      Kind = "int"
	Strings  Kind = "list of strings"
	Map      Kind = "dict of strings"
	Size     Kind = "size"
	Duration Kind = "duration"
	Path     Kind = "path"      // a local file or directory, an URL or an artifact
	Ref      Kind = "reference" // a name, or a local path when it begins with "/", "./", "../" or "//"
	LayerRef Kind = "layer"     // a layer of any source
	FilesOf  Kind = "files"     // files and directories: see Files
	SecretOf Kind = "secret"    // the name of a secret: see Host.Secret
)

// Files is the value of an option of the kind FilesOf: the content of files that the
// definition makes, by their names. Those that are local files or directories are in
// Origin.Paths, by PathsOf.
type Files map[string]string

// PathsOf returns the paths of an option of the kind FilesOf, in the order of the
// definition.
func (o Origin) PathsOf(option string) []string {
	var paths []string
	for i := 0; ; i++ {
		path, ok := o.Paths[FilesKey(option, i)]
		if !ok {
			return paths
		}
		paths = append(paths, path)
	}
}

// FilesKey is what path i of an option of the kind FilesOf is found by in
// Origin.Paths.
func FilesKey(option string, i int) string {
	if i == 0 {
		return option
	}
	return fmt.Sprintf("%s#%d", option, i)
}

// A Secret is the value of an option of the kind SecretOf: the secret's name.
type Secret string

// An Option is one keyword that a platform takes.
type Option struct {
	Name     string
	Kind     Kind
	Help     string   // one sentence for the reference
	Default  string   // what holds when it is not given, as shown in the reference; may be ""
	Choices  []string // the values that a string may have; empty means any
	IsOrigin bool     // names an origin: exactly one of these is given to source()
	IsSet    bool     // a list whose order and repetitions mean nothing
}

// Options reads the options that the struct type t declares. Each exported
// field has the tags
//
//	bake:"name,kind,origin"  the keyword; kind and origin are optional; a list may be a set
//	help:"…"                 one sentence
//	default:"…"              documentation of the default; optional
//	choices:"a|b"            allowed values; optional
//
// and the same name in its json tag with omitempty, so that an option that is
// added later leaves the keys of older definitions alone. The kind follows
// from the field's type unless it is one of size, duration, path, ref, layer.
func Options(t reflect.Type) []Option {
	var opts []Option
	for i := range t.NumField() {
		f := t.Field(i)
		tag := strings.Split(f.Tag.Get("bake"), ",")
		o := Option{Name: tag[0], Help: f.Tag.Get("help"), Default: f.Tag.Get("default")}
		if o.Name == "" || o.Help == "" || f.Tag.Get("json") != o.Name+",omitempty" {
			panic(fmt.Sprintf("platforms: %s.%s: needs the tags bake, help and json:%q", t, f.Name, o.Name+",omitempty"))
		}
		if c := f.Tag.Get("choices"); c != "" {
			o.Choices = strings.Split(c, "|")
		}
		o.Kind = kindOf(t, f)
		for _, flag := range tag[1:] {
			switch flag {
			case "origin":
				o.IsOrigin = true
			case "set":
				o.IsSet = true
			case "size":
				o.Kind = Size
			case "duration":
				o.Kind = Duration
			case "path":
				o.Kind = Path
			case "ref":
				o.Kind = Ref
			case "layer":
				o.Kind = LayerRef
			default:
				panic(fmt.Sprintf("platforms: %s.%s: unknown flag %q", t, f.Name, flag))
			}
		}
		opts = append(opts, o)
	}
	return opts
}

func kindOf(t reflect.Type, f reflect.StructField) Kind {
	switch f.Type {
	case reflect.TypeFor[string]():
		return String
	case reflect.TypeFor[bool]():
		return Bool
	case reflect.TypeFor[int]():
		return Int
	case reflect.TypeFor[Files]():
		return FilesOf
	case reflect.TypeFor[Secret]():
		return SecretOf
	case reflect.TypeFor[[]string]():
		return Strings
	case reflect.TypeFor[map[string]string]():
		return Map
	}
	panic(fmt.Sprintf("platforms: %s.%s: type %s cannot be an option", t, f.Name, f.Type))
}
