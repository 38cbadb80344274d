package seed

import (
	_ "embed" // for cleanScript

	"bake.build/bake/platforms/identity"
)

//go:embed clean.sh
var cleanScript string

// Clean returns a script of POSIX shell that removes, as root of the machine,
// what is left of the login and what a machine must not share with those that
// are made of its image: see the package identity. The journal of the build goes,
// too. At the end unused blocks are given back.
func Clean() string { return "set -- '" + mark + "'\n" + identity.Script + cleanScript }
