// Package ui shows the stream of events to users: live on a terminal, as plain
// lines, or as JSON lines for programs.
//
// # Terms
//
// The live area is the last lines of the terminal, which are drawn again for
// each frame: one for each running node with the end of its output, and one
// that sums up. What has ended scrolls up above it as plain lines and is never
// drawn again.
//
// # Invariants
//
// What a step writes cannot move the cursor, change colours or hide lines: its
// control characters are dropped. A reader never waits for the terminal while it
// holds up the build, save when a pipe that it writes plain lines or JSON to is
// full. The terminal is in its usual state between any two writes, so that a
// display that is killed leaves nothing to restore.
package ui
