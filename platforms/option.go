package platforms

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// An Option is one argument of a function of the language: of a platform's
// constructor, of source() or export() on a platform, or of a builtin.
type Option struct {
	Name    string
	Kind    Kind
	Help    string   // one sentence for the reference
	Default string   // what holds when it is not given, as shown in the reference; may be ""
	Choices []string // the values that a string may have; empty means any

	// Deprecated says what to write instead of an option that will go. It is shown
	// in the reference and by the linter.
	Deprecated string

	IsOrigin bool // names an origin: exactly one of these is given to source()
	IsSet    bool // a list whose order and repetitions mean nothing
	Numbers  bool // an int stands for its digits: the value, or an element of a list or dict
	Required bool
	Keyword  bool // cannot be given by position

	Type  reflect.Type // of the field that gets the value
	Index []int        // of the field in the struct that declares the option, as in reflect.VisibleFields
}

// A Kind is the type of an option's value, as users read it.
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
	AnyValue Kind = "any"
)

// A KindNamer is a type of field, or a pointer to one, that names its own kind.
// The method is called on a zero value, and on a nil pointer.
type KindNamer interface {
	// KindName names the type for users, such as "string or list of strings".
	KindName() string
}

// Rest is the name of the field that takes the keywords that no other field has.
const Rest = "**"

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

// Fields reads the options that the struct type t declares, in the order of its
// fields. Each exported field has the tags
//
//	bake:"name,flag…"  the keyword, and what the type does not say
//	help:"…"           one sentence
//	default:"…"        as shown to users; "True" also sets a bool; optional
//	choices:"a|b"      allowed values; optional
//	deprecated:"…"     what to write instead; optional
//
// The kind follows from the field's type unless a flag says it: size, duration,
// path, ref or layer. Further flags are numbers, for texts that may be given as
// ints, origin and set, for options of platforms, and required and keyword, for
// arguments that a builtin takes by position, too.
//
// The fields of an embedded struct are options of t; a field of the outer struct
// hides one of the same name. The embedded field itself may have the tag
//
//	defaults:"name=text|name=text"
//
// with other defaults to show for options of the embedded struct.
//
// Fields panics on a struct that cannot be declared.
func Fields(t reflect.Type) []Option {
	all := fields(t, nil)
	return slices.DeleteFunc(all, func(o Option) bool {
		return slices.ContainsFunc(all, func(p Option) bool { return p.Name == o.Name && len(p.Index) < len(o.Index) })
	})
}

func fields(t reflect.Type, index []int) []Option {
	var opts []Option
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clone(index), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			opts = append(opts, embedded(t, f, at)...)
			continue
		}
		name, flags, _ := strings.Cut(f.Tag.Get("bake"), ",")
		o := Option{
			Name: name, Kind: kindOf(f.Type, name), Help: f.Tag.Get("help"), Default: f.Tag.Get("default"),
			Deprecated: f.Tag.Get("deprecated"), Type: f.Type, Index: at,
		}
		if o.Name == "" || o.Kind == "" || o.Help == "" && o.Name != Rest {
			panic(fmt.Sprintf("platforms: %s.%s: needs the tags bake and help, and a type that can be an option", t, f.Name))
		}
		if c := f.Tag.Get("choices"); c != "" {
			o.Choices = strings.Split(c, "|")
		}
		if flags != "" {
			for flag := range strings.SplitSeq(flags, ",") {
				if !o.flag(flag) {
					panic(fmt.Sprintf("platforms: %s.%s: unknown flag %q", t, f.Name, flag))
				}
			}
		}
		opts = append(opts, o)
	}
	return opts
}

// embedded returns the options of f, a struct that t embeds.
func embedded(t reflect.Type, f reflect.StructField, at []int) []Option {
	opts := fields(f.Type, at)
	defaults := f.Tag.Get("defaults")
	if defaults == "" {
		return opts
	}
	for part := range strings.SplitSeq(defaults, "|") {
		name, text, _ := strings.Cut(part, "=")
		i := slices.IndexFunc(opts, func(o Option) bool { return o.Name == name })
		if i < 0 {
			panic(fmt.Sprintf("platforms: %s.%s: the tag defaults names %q, which it does not have", t, f.Name, name))
		}
		opts[i].Default = text
	}
	return opts
}

// flag applies a flag of the tag bake.
func (o *Option) flag(flag string) bool {
	is := map[string]*bool{"origin": &o.IsOrigin, "set": &o.IsSet, "numbers": &o.Numbers, "required": &o.Required, "keyword": &o.Keyword}[flag]
	kind := map[string]Kind{"size": Size, "duration": Duration, "path": Path, "ref": Ref, "layer": LayerRef}[flag]
	switch {
	case is != nil:
		*is = true
	case kind != "":
		o.Kind = kind
	default:
		return false
	}
	return true
}

// kindOf returns "" for a type that cannot be an option.
func kindOf(t reflect.Type, name string) Kind {
	for _, v := range []reflect.Value{reflect.New(t), reflect.Zero(t)} {
		if k, ok := v.Interface().(KindNamer); ok {
			return Kind(k.KindName())
		}
	}
	switch t {
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
	switch {
	case t.Kind() == reflect.Interface:
		return AnyValue
	case name == Rest:
		return "keywords"
	}
	return ""
}

// Options are the Fields of a struct that is kept as JSON: a field has its
// option's name in its json tag, too, with omitempty, so that an option that is
// added later leaves the keys of older definitions alone.
func Options(t reflect.Type) []Option {
	opts := Fields(t)
	for _, o := range opts {
		f := t.FieldByIndex(o.Index)
		if f.Tag.Get("json") != o.Name+",omitempty" {
			panic(fmt.Sprintf("platforms: %s.%s: needs the tag json:%q", t, f.Name, o.Name+",omitempty"))
		}
	}
	return opts
}
