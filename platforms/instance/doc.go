// Package instance is what every cloud does with an instance that runs bake's steps: it
// is used by SSH, asked now and then whether it still runs, and makes remote layers
// while it goes on. What was put into it for the build, and what is its own identity, is
// taken away for the moment of a layer and brought back.
//
// A cloud implements Cloud, and opens a Machine when the instance runs.
package instance
