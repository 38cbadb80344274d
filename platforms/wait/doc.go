// Package wait is the loop in which drivers wait for something that others do: a
// cloud that makes an image, a machine that boots, a server that answers again.
//
// A Loop looks again and again, with growing pauses, until what it waits for is there,
// until it has failed, until it is found to be gone, until its time is up or until the
// context ends: the end of the context is noticed at any moment, in a pause as in a
// look. What was made just now may not be known everywhere at once, so that a Loop can
// be told how often "not found" means "not yet". Once it was seen, "not found" means
// that it is gone.
package wait
