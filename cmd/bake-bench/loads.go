package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bake.build/bake/runtime/lock"
	rmodule "bake.build/bake/runtime/module"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/module"
)

// loadedModules is how many modules a project of the size of a company's loads.
const loadedModules = 200

// vendorModules makes a project whose modules lie in its vendor directory, as bake mod
// vendor leaves them.
func vendorModules(ctx context.Context, dir string, n int, write func(dir string, i int) error) error {
	var text strings.Builder
	text.WriteString("module(\"bench.example/project\")\n")
	l := &module.Lock{Modules: map[string]module.Locked{}}
	for i := range n {
		path := fmt.Sprintf("bench.example/m%d", i)
		fmt.Fprintf(&text, "require(%q, \"v1.0.0\", source = \"oci://registry.example/m%d\")\n", path, i)
		tree := filepath.Join(dir, "bake.vendor", path+"@v1.0.0")
		if err := os.MkdirAll(tree, 0o755); err != nil {
			return err
		}
		if err := errors.Join(os.WriteFile(filepath.Join(tree, module.FileName), module.New(path), 0o644), write(tree, i)); err != nil {
			return err
		}
		digest, err := rmodule.HashDir(ctx, tree, plan.HashFile{})
		if err != nil {
			return err
		}
		l.Modules[path] = module.Locked{Version: "v1.0.0", Source: fmt.Sprintf("oci://registry.example/m%d", i), Digest: digest}
	}
	if err := os.WriteFile(filepath.Join(dir, module.FileName), []byte(text.String()), 0o644); err != nil {
		return err
	}
	f, err := module.Parse(module.FileName, []byte(text.String()))
	if err != nil {
		return err
	}
	if l.Asked, err = module.Asked(f, func(module.Source) (*module.File, error) { return nil, errors.New("no folder") }); err != nil {
		return err
	}
	file, err := lock.Load(filepath.Join(dir, lock.Name))
	if err != nil {
		return err
	}
	file.SetModules(l)
	return file.Save(ctx)
}

// measureLoads evaluates 10,000 nodes that 200 modules make, with a store that knows
// nothing and with one that has seen them.
func measureLoads(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.subdir("modules")
	if err != nil {
		return nil, err
	}
	var main strings.Builder
	err = vendorModules(ctx, dir, loadedModules, func(tree string, i int) error {
		fmt.Fprintf(&main, "load(\"@m%d//steps.star\", step%d = \"steps\")\n", i, i)
		text := fmt.Sprintf("def steps(m):\n    for i in range(%d):\n        m = write(m, \"/etc/%d-%%d\" %% i, read_file(\"text\"))\n    return m\n", planNodes/loadedModules, i)
		return errors.Join(os.WriteFile(filepath.Join(tree, "steps.star"), []byte(text), 0o644), os.WriteFile(filepath.Join(tree, "text"), []byte(fmt.Sprintln("text", i)), 0o644))
	})
	if err != nil {
		return nil, err
	}
	main.WriteString("m = source(rootfs(), scratch = True)\n")
	for i := range loadedModules {
		fmt.Fprintf(&main, "m = step%d(m)\n", i)
	}
	main.WriteString("export(m, \"all\", formats = [\"tar\"])\n")
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(main.String()), 0o644); err != nil {
		return nil, err
	}
	const n = 7
	b.logf("bake evaluates %d modules and %d nodes, %d times cold and warm", loadedModules, planNodes, n)
	p := project{bake: b.bake, dir: dir, store: b.path("modules.store")}
	c := p.command("ls", "images.star", "--locked")
	cold, err := repeat(ctx, n, c, func(int) error { return os.RemoveAll(p.store) })
	if err != nil {
		return nil, err
	}
	warm, err := repeat(ctx, n, c, func(int) error { return nil })
	if err != nil {
		return nil, err
	}
	return []row{
		row{Name: "200 modules, 10,000 nodes, cold", Got: medianSeconds(cold), Unit: "s", Runs: n, Limit: 1.5}.finish(),
		row{Name: "200 modules, 10,000 nodes, warm", Got: medianSeconds(warm), Unit: "s", Runs: n, Limit: 0.5}.finish(),
	}, nil
}
