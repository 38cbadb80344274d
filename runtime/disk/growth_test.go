package disk

import (
	"strings"
	"testing"
)

func TestGrowth(t *testing.T) {
	const (
		growfs = "usr/lib/systemd/systemd-growfs "
		repart = growfs + "usr/bin/systemd-repart "
		sfdisk = "usr/sbin/sfdisk usr/bin/partx "
	)
	for name, c := range map[string]struct{ files, added, told string }{
		"nothing":               {"", "", "warning: nothing in the image grows the root file system into a larger disk: add cloud-init and growpart"},
		"Debian 13":             {growfs + "usr/lib/os-release", "", "add systemd-repart to packages"},
		"repart":                {repart, "etc/repart.d/50-root.conf", "by systemd-repart"},
		"without growpart":      {repart + "usr/bin/cloud-init", "etc/repart.d/50-root.conf", "by systemd-repart"},
		"own repart":            {repart + "etc/repart.d/10-x.conf", "", ""},
		"empty repart.d":        {repart + "etc/repart.d/", "etc/repart.d/50-root.conf", "by systemd-repart"},
		"cloud-init":            {growfs + "usr/bin/cloud-init usr/bin/growpart", "", "by cloud-init"},
		"sfdisk":                {growfs + sfdisk, "etc/systemd/system/grow-root.service", "by grow-root.service"},
		"cloud-init's half":     {growfs + sfdisk + "usr/bin/cloud-init", "usr/local/sbin/grow-root", "by grow-root.service"},
		"sfdisk, no systemd":    {sfdisk, "", "warning: nothing"},
		"growpart, no one else": {"usr/bin/growpart", "", "warning: nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for f := range strings.FieldsSeq(c.files) {
				files[strings.TrimSuffix(f, "/")] = "ID=debian\n"
			}
			if strings.HasSuffix(c.files, "/") {
				delete(files, "etc/repart.d")
			}
			tr := memoryTree(t, files)
			before := tr.Usage().Inodes
			var told strings.Builder
			o := Options{Note: func(s string) { told.WriteString(s) }, Warn: func(s string) { told.WriteString("warning: " + s) }}
			if err := o.addGrowth(tr, 0); err != nil {
				t.Fatal(err)
			}
			if c.added != "" && tr.Lookup(c.added) == nil || c.added == "" && tr.Usage().Inodes != before {
				t.Errorf("%d inodes were added", tr.Usage().Inodes-before)
			}
			if !strings.Contains(told.String(), c.told) || (told.Len() > 0) != (c.told != "") {
				t.Errorf("told %q, want %q", told.String(), c.told)
			}
		})
	}
}
