package aws

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"bake.build/bake/platforms"
)

// Spec declares the platform.
func Spec() platforms.Spec {
	spec := platforms.Declare[Options, Origin](Name, "Images are registered as AMIs of an AWS account. Machines do not run here yet: a layer of another platform is written into a snapshot by the EBS direct APIs.", open)
	spec.Boots = true
	platforms.DeclarePublication[Publication](&spec)
	return spec
}

// A driver publishes images with one account.
type driver struct {
	host    platforms.Host
	options Options
	clients *clients
	text    string        // the options as JSON, for who removes what a dead build left
	pause   time.Duration // before AWS is asked for a second time how something goes
}

var (
	_ platforms.Driver    = (*driver)(nil)
	_ platforms.Publisher = (*driver)(nil)
	_ platforms.Collector = (*driver)(nil)
	_ platforms.Puller    = (*driver)(nil)
)

func open(o Options, h platforms.Host) (platforms.Driver, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	return &driver{host: h, options: o, text: string(text), clients: newClients(o), pause: time.Second}, nil
}

// Fingerprint implements platforms.Driver.
func (d *driver) Fingerprint() string { return "aws/1" }

var errNoMachines = errors.New("aws: no machines run on this platform: begin the chain on another one, and export it with to = [aws()]")

// Pin implements platforms.Driver.
func (d *driver) Pin(context.Context, platforms.Origin) (platforms.Origin, error) {
	return platforms.Origin{}, errNoMachines
}

// Import implements platforms.Driver.
func (d *driver) Import(context.Context, platforms.Origin, string, platforms.Sink) (string, error) {
	return "", errNoMachines
}

// Boot implements platforms.Driver.
func (d *driver) Boot(context.Context, []platforms.Layer, platforms.Sink) (platforms.Machine, error) {
	return nil, errNoMachines
}

// resource begins the record of something that is about to be made.
func (d *driver) resource(kind, region, id string) (done func() error, err error) {
	return d.host.Ledger().Begin(d.record(kind, region, id))
}

func (d *driver) record(kind, region, id string) platforms.Resource {
	return platforms.Resource{Platform: Name, Kind: kind, ID: id, Data: map[string]string{"region": region, "options": d.text}}
}
