package ledger

import (
	"encoding/json"
	"fmt"
	"time"

	"bake.build/bake/platforms"
)

// format is the version of a resource's file.
const format = 1

// A Record is one resource in the ledger.
type Record struct {
	platforms.Resource
	Build string    // the id of the build that made it
	Time  time.Time // when it was recorded

	path string
}

// file is what a resource's file holds.
type file struct {
	Format   int               `json:"format"`
	Build    string            `json:"build"`
	Time     time.Time         `json:"time"`
	Platform string            `json:"platform"`
	Account  string            `json:"account,omitempty"`
	Kind     string            `json:"kind"`
	ID       string            `json:"id"`
	Data     map[string]string `json:"data,omitempty"`
}

func encode(r Record) ([]byte, error) {
	return json.MarshalIndent(file{
		Format: format, Build: r.Build, Time: r.Time,
		Platform: r.Platform, Account: r.Account, Kind: r.Kind, ID: r.ID, Data: r.Data,
	}, "", "  ")
}

func decode(b []byte) (Record, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return Record{}, err
	}
	if f.Format != format {
		return Record{}, fmt.Errorf("it is of format %d, this bake reads %d", f.Format, format)
	}
	if f.Platform == "" || f.Kind == "" {
		return Record{}, fmt.Errorf("it names no platform or no kind")
	}
	return Record{
		Resource: platforms.Resource{Platform: f.Platform, Account: f.Account, Kind: f.Kind, ID: f.ID, Data: f.Data},
		Build:    f.Build, Time: f.Time,
	}, nil
}
