// Package root finds the root file system in a disk, and shows its files.
package root
