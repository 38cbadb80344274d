// Package image is about the files that machines start from: images of disks
// and CDs, which a definition names by a path or a URL.
package image
