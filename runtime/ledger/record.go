package ledger

import (
	"bytes"
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
	Time time.Time // when it was recorded

	path string
}

// file is what a resource's file holds.
type file struct {
	Format   int             `json:"format"`
	Build    string          `json:"build"`
	Time     time.Time       `json:"time"`
	Platform string          `json:"platform"`
	Account  string          `json:"account,omitempty"`
	Place    string          `json:"place,omitempty"`
	Kind     string          `json:"kind"`
	ID       string          `json:"id"`
	Options  json.RawMessage `json:"options,omitempty"`

	// Data holds the place and the options in files of the format's first writers.
	Data map[string]string `json:"data,omitempty"`
}

func encode(r Record) ([]byte, error) {
	return json.MarshalIndent(file{
		Format: format, Build: r.Build, Time: r.Time,
		Platform: r.Platform, Account: r.Account, Place: r.Place, Kind: r.Kind, ID: r.ID, Options: r.Options,
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
	r := platforms.Resource{
		Platform: f.Platform, Account: f.Account, Place: f.Place, Kind: f.Kind, ID: f.ID, Options: f.Options, Build: f.Build,
	}
	if f.Data != nil {
		r.Place = f.Data["region"]
		if options := f.Data["options"]; options != "" {
			r.Options = json.RawMessage(options)
		}
	}
	if len(r.Options) > 0 { // which the file has with line breaks
		var options bytes.Buffer
		if err := json.Compact(&options, r.Options); err != nil {
			return Record{}, fmt.Errorf("options: %w", err)
		}
		r.Options = options.Bytes()
	}
	return Record{Resource: r, Time: f.Time}, nil
}
