// Package lock keeps bake.lock, the file that records what the loose origins
// of a definition resolved to, and gives the sources of a plan their pins.
//
// A pin in the file holds for as long as what it names can still be had. A
// build never refuses for want of a pin: it resolves the origin, says so and
// writes the file. Only a locked build, asked for by the user, refuses.
//
// The file is JSON with one entry per origin, sorted, so that it reads well in
// a diff. It also keeps the versions of modules that were selected, with the digests
// of their trees; see package module.
//
//	{
//	  "version": 1,
//	  "modules": {
//	    "asked": "sha256:…",
//	    "modules": {
//	      "acme.example/golden": {"version": "v1.4.0", "source": "oci://…", "digest": "sha256:…"}
//	    }
//	  },
//	  "pins": {
//	    "rootfs debian bookworm": {"id": "sha256:…", "date": "2026-11-01T10:00:00Z"}
//	  }
//	}
package lock
