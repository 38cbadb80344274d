// Package module is the model of modules: trees of files that one team publishes
// and others load, each with a version. It reads no file and no network.
//
//   - File is bake.mod, which says what a module is called and which modules it
//     requires.
//   - Resolve selects the versions of a build by minimal version selection: of each
//     module the highest version that anything asks for. A new release changes
//     nothing until somebody asks for it, so that the same bake.mod gives the same
//     versions everywhere. See https://research.swtch.com/vgo-mvs.
//   - Lock is what was selected, with the digest of each tree.
//
// A module is known by its path, such as "acme.example/golden". From version 2 on
// the path ends in the major version, "acme.example/golden/v2": major versions are
// modules of their own, and may be used side by side. Where the files come from is
// the source, which is no part of the identity: see Source.
package module
