//go:build !unix

package store

func isNotDir(error) bool { return false }
