// Package build is a build as a library: it opens a definition, plans its
// targets, runs them, and answers what a command line, an editor or a worker asks
// about them.
//
//	err := build.Use(ctx, config, "images.star", func(b *build.Build) error {
//		targets, err := build.Choose(b.Definition.Targets(), patterns)
//		if err != nil {
//			return err
//		}
//		_, err = b.Run(ctx, b.WithTests(targets), build.Options{Events: display})
//		return err
//	})
//
// The package prints nothing and knows no flags and no exit codes. What it has to
// tell is an event or an error; an Error says who can mend it. It is the one
// package of the runtime that knows the language.
package build
