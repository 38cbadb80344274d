package plan

// A Linker is a Source whose origin has options that name what other nodes of
// the plan make: layers, or the files of artifacts. Before the source is
// imported, the place of each is put into Paths of its origin.
type Linker interface {
	Source
	// Links returns the index in the node's Deps for each such option.
	Links() map[string]int
}
