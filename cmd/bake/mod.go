package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bake.build/bake/runtime/build"
	"bake.build/bake/starlark/module"
)

func (a *app) modCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mod",
		Short: "manage the modules that a project loads",
		Long: `Manages bake.mod, which names a module and the modules of other teams that its files
load, as in load("@acme//golden.star", "golden"), and their versions and digests in
bake.lock. The version of a module is the highest that bake.mod
or one of the modules asks for: a new release changes nothing until somebody asks
for it.

A source is one of

  oci://registry.example/images/golden       a registry, by a tag
  git+https://git.example/golden.git         a git repository, by a tag, branch or
  git+ssh://git@git.example/golden.git       commit; ?dir=FOLDER for a part of it
  https://example.org/golden-1.4.0.tar.gz    an archive, with #sha256=HEX if wanted
  file:../golden                             a folder, taken as it is`,
	}
	cmd.AddCommand(a.modInitCommand(), a.modAddCommand(), a.modRemoveCommand(), a.modTidyCommand(), a.modUpdateCommand(),
		a.modVendorCommand(), a.modVerifyCommand(), a.modGraphCommand(), a.modPublishCommand())
	return cmd
}

func (a *app) modInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [PATH]",
		Short: "write a first bake.mod",
		Long: `Writes a first bake.mod to the working directory. PATH is what the module is called
everywhere, such as acme.example/images. From version 2 on it ends in the major
version, as in acme.example/images/v2. A project that nobody else loads needs no such
path: without one, its name is that of the directory.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := filepath.Base(a.dir)
			if len(args) == 1 {
				path = args[0]
			}
			file, err := build.InitModule(a.dir, path)
			if err == nil {
				_, err = fmt.Fprintln(a.stdout, "wrote", a.rel(file))
			}
			return err
		},
	}
}

// A modFlags holds the flags of verbs that may ask for modules.
type modFlags struct{ offline bool }

func (f *modFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.offline, "offline", false, offlineHelp)
}

const offlineHelp = "ask no server for modules: take them from the store or from bake.vendor"

// withModules runs use with the bake.mod of the working directory.
func (a *app) withModules(f *modFlags, use func(*build.Modules) error) error {
	c := a.config(nil)
	c.Offline = f.offline
	w, err := build.OpenModules(c)
	if err != nil {
		return err
	}
	return errors.Join(use(w), w.Close())
}

// settle resolves what bake.mod now asks for and writes it.
func settle(ctx context.Context, w *build.Modules) error {
	if _, err := w.Resolve(ctx); err != nil {
		return err
	}
	return w.Save(ctx)
}

func (a *app) modAddCommand() *cobra.Command {
	f, version := &modFlags{}, ""
	cmd := &cobra.Command{
		Use:   "add [NAME=]SOURCE[@VERSION]...",
		Short: "require modules",
		Long: `Adds modules to bake.mod, or changes what it says of them. Without a version it
requires the newest. Files load a module by its name, as "@NAME//file.star", which is
the last element of its path if none is given.`,
		Example: `  bake mod add acme=oci://registry.example/images/golden@v1.4.0
  bake mod add git+ssh://git@git.example/net.git
  bake mod add file:../golden`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				for _, given := range args {
					r, err := w.Add(cmd.Context(), given, version)
					if err != nil {
						return err
					}
					fmt.Fprintf(a.stdout, "@%s is %s\n", r.Name, strings.TrimSpace(r.Path+" "+r.Version))
				}
				return settle(cmd.Context(), w)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&version, "version", "", "`version` of an archive whose name does not say it")
	return cmd
}

func (a *app) modRemoveCommand() *cobra.Command {
	f := &modFlags{}
	cmd := &cobra.Command{
		Use:     "remove NAME...",
		Aliases: []string{"rm"},
		Short:   "no longer require modules",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				for _, name := range args {
					if err := w.Remove(name); err != nil {
						return err
					}
				}
				return settle(cmd.Context(), w)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) modTidyCommand() *cobra.Command {
	f := &modFlags{}
	cmd := &cobra.Command{
		Use:   "tidy",
		Short: "drop modules that no file loads, and renew the lock",
		Long: `Makes bake.mod and bake.lock match what the project's Starlark files load: drops
requirements that no file loads, and writes the versions and digests of the others.
A load of a module that is not required is an error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				dropped, err := w.Tidy(cmd.Context())
				if err != nil {
					return err
				}
				for _, name := range dropped {
					fmt.Fprintf(a.stdout, "dropped @%s, which no file loads\n", name)
				}
				return settle(cmd.Context(), w)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) modVendorCommand() *cobra.Command {
	f := &modFlags{}
	cmd := &cobra.Command{
		Use:   "vendor",
		Short: "copy the modules into the project, for builds without a network",
		Long: `Copies all modules that are locked into ` + build.VendorName + ` beside bake.mod, in place of
what is there. Builds take them from there, compared with bake.lock.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				n, err := w.Vendor(cmd.Context())
				if err != nil {
					return err
				}
				if err := w.Save(cmd.Context()); err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "%s in %s\n", counted(n, "module"), build.VendorName)
				return err
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) modVerifyCommand() *cobra.Command {
	f := &modFlags{}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "compare every file of every module with the lock",
		Long: `Reads all files of the modules and compares them with the digests in bake.lock. A
module that is not on this machine is downloaded first. The exit code is 5 where one
has been changed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				all, err := w.Verify(cmd.Context())
				if err != nil {
					return err
				}
				var damaged []error
				for _, v := range all {
					if v.Err != nil {
						damaged = append(damaged, coded(exitDamaged, fmt.Errorf("%s: %w", v.Ref, v.Err)))
					}
				}
				if len(damaged) == 0 {
					_, err = fmt.Fprintf(a.stdout, "compared with bake.lock: %s, no difference\n", counted(len(all), "module"))
					return err
				}
				return errors.Join(damaged...)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) modGraphCommand() *cobra.Command {
	f := &modFlags{}
	cmd := &cobra.Command{
		Use:   "graph [MODULE]",
		Short: "print which module requires which",
		Long: `Prints a line for each requirement: the module that requires, what it requires, and
the version that was selected where it is another. With a MODULE, a name or a path, it
prints only how that comes to be required.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				g, err := w.Resolve(cmd.Context())
				if err != nil {
					return err
				}
				if len(args) == 1 {
					return a.why(w, g, args[0])
				}
				t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
				g.Edges(func(from *module.Module, r module.Require, got *module.Module) {
					asked := strings.TrimSpace(r.Path + " " + r.Version)
					selected := ""
					if s := got.String(); s != asked {
						selected = "→ " + strings.TrimPrefix(s, r.Path+" ")
					}
					fmt.Fprintf(t, "%s\t%s\t%s\n", strings.TrimSpace(from.Path+" "+from.Version), asked, selected)
				})
				return t.Flush()
			})
		},
	}
	f.add(cmd)
	return cmd
}

// why prints the requirements that lead to a module.
func (a *app) why(w *build.Modules, g *module.Graph, name string) error {
	path := name
	if r := w.File().Require(name); r != nil {
		path = r.Path
	}
	m := g.Module(path)
	if m == nil {
		return coded(exitUsage, fmt.Errorf("no module %q is required", name))
	}
	_, err := fmt.Fprintln(a.stdout, strings.Join(m.Chain(), " → "))
	return err
}

func (a *app) modPublishCommand() *cobra.Command {
	f := &modFlags{}
	cmd := &cobra.Command{
		Use:   "publish SOURCE@VERSION",
		Short: "publish the module to a registry",
		Long: `Pushes the module of the working directory to a registry, as an OCI artifact with
the files below bake.mod, without those that git ignores. The same files give the
same bytes. A version that is there with other files is not replaced.

A module in a git repository is published by a tag: git tag v1.4.0 && git push --tags`,
		Example: `  bake mod publish oci://registry.example/images/golden@v1.4.0`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withModules(f, func(w *build.Modules) error {
				p, err := w.Publish(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				state := fmt.Sprintf("published %s: %d files", p.Reference, len(p.Files))
				if p.Existed {
					state = p.Reference + " was there, with the same files"
				}
				if n := len(p.Uncommitted); n > 0 {
					fmt.Fprintf(a.stderr, "note: %s published as here, and not as git's last commit has it, such as %s\n", counted(n, "file"), p.Uncommitted[0])
				}
				_, err = fmt.Fprintf(a.stdout, "%s\n%s\n", state, p.Digest)
				return err
			})
		},
	}
	f.add(cmd)
	return cmd
}
