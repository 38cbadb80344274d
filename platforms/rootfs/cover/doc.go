// Package cover makes what a step finds in its tree beside the image's own
// files: name servers, names of hosts, and answers for programs that ask a
// machine which is not there. It lies in a directory between the layers and the
// upper directory of the step's overlay, so that a step may change, replace and
// remove it like any file, and nothing of it is in the layer unless it does.
//
// A Cover remembers what it put where. After the step Settle takes that out of
// the files which the step changed: what the step made of them stays.
package cover
