package identity

import _ "embed" // for Script

// Script is POSIX shell code that defines the functions identity and identity_logs:
// see identity.sh. It runs nothing.
//
//go:embed identity.sh
var Script string
