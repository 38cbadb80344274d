// Package stdlib holds the library that definitions load as @bake.
package stdlib

import "embed"

// FS holds the library's files: @bake//debian.star is debian.star.
//
//go:embed *.star
var FS embed.FS
