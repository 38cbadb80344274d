package origin

import "testing"

// TestRecipe changes each file that imports are made with.
func TestRecipe(t *testing.T) {
	before := Recipe()
	for _, file := range []*string{&debianScript, &initramfsHook, &sshHostKeys} {
		was := *file
		*file += "\n"
		if Recipe() == before {
			t.Error("a recipe that changed gives the same identity")
		}
		*file = was
	}
	if Recipe() != before {
		t.Error("a recipe gives two identities")
	}
}
