// Package docs holds the pages of the documentation, for bake doc.
package docs

import (
	"embed"
	"fmt"
)

// All but reference.md, which is made from the code.
//
//go:embed [^r]*.md
var pages embed.FS

// A Page is one page: a file in this directory.
type Page struct {
	Name    string `json:"name"`    // of the file, without ".md"
	Group   string `json:"group"`   // what kind of page it is
	Title   string `json:"title"`   // its heading
	Summary string `json:"summary"` // one sentence, for lists
}

// Text returns the page as Markdown.
func (p Page) Text() (string, error) {
	text, err := pages.ReadFile(p.Name + ".md")
	if err != nil {
		return "", fmt.Errorf("read page: %w", err)
	}
	return string(text), nil
}

// The groups of pages, in order.
const (
	Start      = "Start"
	HowTo      = "How to"
	Understand = "Understand"
	LookUp     = "Look up"
)

// Pages returns all pages but the reference, which is made from the code, in the order
// in which they are shown.
func Pages() []Page {
	return []Page{
		{"index", Start, "bake", "What bake is, and where to begin."},
		{"tutorial", Start, "Tutorial", "From `bake init` to a tested golden base for three platforms."},
		{"packer", Start, "Coming from Packer", "HCL and Starlark side by side; builders, provisioners and post-processors."},
		{"how-to", HowTo, "How-to guides", "One task each: share code, cache, use secrets, publish, look into a failure."},
		{"concepts", Understand, "Concepts", "What definition, plan, layer, key, pin and store mean, and why."},
		{"troubleshooting", LookUp, "Troubleshooting", "What the hints of error messages mean, and what to do."},
		{"architecture", Understand, "Architecture", "How bake works, principles first."},
		{"adding-a-platform", HowTo, "Adding a platform", "What a driver has, and how it is tested."},
		{"platforms", LookUp, "Platforms", "What each platform needs and can do, and how far that was verified."},
		{"compatibility", LookUp, "Compatibility", "Scripts and images of other projects that bake was tried on."},
		{"json", LookUp, "Output for programs", "The plan and the progress of a build as JSON."},
		{"dependencies", LookUp, "Dependencies", "What bake is made with, and why."},
	}
}
