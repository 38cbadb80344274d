// Package export writes a layer as an artifact: files in the formats that
// machines and their platforms take, with a manifest and checksums.
//
// Terms: an artifact is a directory of files. A format makes one of them, from
// the raw disk, from the merged file tree or from the layers. The staging
// directory lies beside the artifact's and holds files that are not whole yet.
//
// Invariants: a file appears under its final name only when it is whole and on
// disk, and manifest.json, which says what the artifact is, only when all of
// its files are; equal layers and options give equal bits in every file but
// manifest.json; memory does not grow with the size of an image.
//
// A format costs one file with its Format value and one line in Formats.
package export
