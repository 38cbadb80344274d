//go:build !race

package builtins

const raceEnabled = false
