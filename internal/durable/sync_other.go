//go:build !unix

package durable

// SyncDir does nothing: the system flushes names with the files themselves.
func SyncDir(string) error { return nil }
