// Package fetch downloads files, verifies them, and keeps them in directories of
// a cache. It stands below the platforms that start from files of the user.
package fetch
