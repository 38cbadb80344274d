package overlay

// A Mount is a chain of layers to mount as one tree.
type Mount struct {
	Lowers []string `json:"lowers"` // directories of the layers, oldest first
	Cover  string   `json:"cover"`  // a directory between the layers and Upper, which hides what layers have; "" for none
	Upper  string   `json:"upper"`  // takes what changes; "" makes the tree read-only
	Work   string   `json:"work"`   // empty directory beside Upper, on the same mount

	// UserXattr keeps marks of overlayfs in user.overlay.*, for mounts in a user
	// namespace. A layer can only be read in the way it was written.
	UserXattr bool `json:"userxattr"`

	// NoSUID has set-uid programs run without their rights.
	NoSUID bool `json:"nosuid"`
}

// MaxLayers is how many layers overlayfs stacks.
const MaxLayers = 490
