//go:build !unix

package store

func isUnreadable(error) bool { return false }

func isNotDir(error) bool { return false }

func planted(string) error { return nil }

func isReadOnly(error) bool { return false }
