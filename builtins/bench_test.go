package builtins

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"bake.build/bake/runtime/plan"
)

// bigDefinition makes a plan of n nodes: many images that share a base, each
// with steps that go through macros.
func bigDefinition(n int) string {
	const steps = 10
	return fmt.Sprintf(`
def setup(m, i, j):
    m = shell(m, """
        apt-get install -y package-%%d
        systemctl enable service-%%d
    """ %% (i, j), env = {"A": str(i), "B": str(j)}, timeout = "10m")
    return write(m, "/etc/app/%%d.conf" %% j, "value = %%d\n" %% i)

def image(base, i):
    m = base
    for j in range(%d):
        m = setup(m, i, j)
    m = copy(m, "site/", "/var/www/html/")
    return m

base = source(rootfs(), debian = "bookworm", packages = ["openssh-server"])
for i in range(%d):
    m = image(base, i)
    export(m, "image-%%d" %% i, formats = ["qcow2"], size = "4G")
`, steps, n/(2*steps+2))
}

// flatDefinition makes n nodes without loops, as generated definitions do.
func flatDefinition(n int) string {
	var b strings.Builder
	b.WriteString("m0 = source(rootfs(), debian = \"bookworm\")\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "m%d = shell(m%d, \"echo %d\")\n", i, i-1, i)
	}
	return b.String()
}

func evaluateAndSeal(tb testing.TB, dir, text string) *plan.Plan {
	d, _, err := evaluate(tb, dir, text, nil)
	if err != nil {
		tb.Fatal(err)
	}
	seal(tb, d.Plan)
	return d.Plan
}

func BenchmarkPlan10000(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"loops", bigDefinition(10_000)},
		{"flat", flatDefinition(10_000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			writeFiles(b, dir, projectFiles)
			b.ReportAllocs()
			for b.Loop() {
				if p := evaluateAndSeal(b, dir, c.text); len(p.Nodes) < 9_900 {
					b.Fatal(len(p.Nodes))
				}
			}
		})
	}
}

// TestPlan10000 holds how much a plan of 10,000 nodes may allocate, garbage included.
// make bench says how long it takes.
func TestPlan10000(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, projectFiles)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := evaluateAndSeal(t, dir, bigDefinition(10_000))
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d nodes: %d MiB allocated", len(p.Nodes), allocated>>20)
	if allocated > 80<<20 {
		t.Errorf("%d MiB allocated, want at most 80", allocated>>20)
	}
}
