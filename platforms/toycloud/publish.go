package toycloud

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/toycloud/server"
)

// Publication are the options of export() there.
type Publication struct {
	Places []string          `bake:"places" json:"places,omitempty" help:"Further places of the image."`
	Labels map[string]string `bake:"labels" json:"labels,omitempty" help:"Tags of the image."`

	publish.Retention
}

// A job is one publication. It implements publish.Images and publish.Retainer.
type job struct {
	*publish.Life[image]

	d   *driver
	o   Publication
	out platforms.Logger
}

// An image is one that is, or was, being published.
type image struct{ server.Thing }

// Facts implements publish.Image.
func (i image) Facts() publish.Facts {
	return publish.Facts{ID: i.ID, Name: i.Name, Place: i.Place, State: publish.Available, Created: i.Made, Marks: i.Tags}
}

func (d *driver) job(p platforms.Publication, out platforms.Logger) (*job, error) {
	j := &job{d: d, out: out}
	if len(p.Options) > 0 {
		if err := json.Unmarshal(p.Options, &j.o); err != nil {
			return nil, err
		}
	}
	identity, err := publish.Identify("toy 1", d.Ledger.Project(), p, struct{}{})
	if err != nil {
		return nil, err
	}
	j.Life = &publish.Life[image]{
		Images: j, Retainer: j, Places: append([]string{home}, j.o.Places...), AtOnce: 4,
		Name: publish.Name(p.Name, identity), Artifact: p.Name, Identity: identity, Key: p.Key, Keep: j.o.Keep, Ledger: d.Ledger,
		Record: func(ctx context.Context, i image) (*resource.Record, error) {
			return d.Begin(ctx, server.Image, i.Place, i.Name)
		},
		Loop: loop, Say: func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) },
	}
	for label := range j.o.Labels {
		j.Settings = append(j.Settings, label)
	}
	return j, nil
}

// CheckPublish implements platforms.Publisher.
func (d *driver) CheckPublish(ctx context.Context, p platforms.Publication) error {
	j, err := d.job(p, nil)
	if err != nil {
		return err
	}
	for _, place := range j.o.Places {
		if !slices.Contains(server.Places(), place) {
			return &platforms.OptionError{Err: fmt.Errorf("places: there is no %s: want %s", place, strings.Join(server.Places(), ", "))}
		}
	}
	if err := j.o.CheckProject(d.Ledger.Project()); err != nil {
		return err
	}
	_, err = j.Existing(ctx)
	return err
}

// Published implements platforms.Publisher.
func (d *driver) Published(ctx context.Context, p platforms.Publication) ([]platforms.Registered, string, error) {
	j, err := d.job(p, nil)
	if err != nil {
		return nil, "", err
	}
	return j.Published(ctx)
}

// Publish implements platforms.Publisher.
func (d *driver) Publish(ctx context.Context, p platforms.Publication, of platforms.ImageSource, out platforms.Logger) ([]platforms.Registered, error) {
	from := server.Creation{File: of.Disk, From: of.Layer}
	j, err := d.job(p, out)
	if err != nil {
		return nil, err
	}
	images, found, err := j.Life.Publish(ctx, func(ctx context.Context) (*publish.Held[image], error) {
		id, record, err := j.create(ctx, from, home)
		return j.Created(ctx, home, id, record, err)
	})
	if err != nil {
		return nil, err
	}
	return found, j.Retain(ctx, images)
}

// create begins the image in a place. It leaves failures to Life.Created.
func (j *job) create(ctx context.Context, c server.Creation, place string) (id string, record *resource.Record, err error) {
	c.Thing = server.Thing{Kind: server.Image, Name: j.Name, Place: place, Tags: j.Marks()}
	if record, err = j.d.Begin(ctx, c.Kind, place, c.Name); err != nil {
		return "", nil, err
	}
	id, err = j.d.ask(ctx, c)
	return id, record, err
}

// Find implements publish.Images.
func (j *job) Find(ctx context.Context, place string, q publish.Query) (list []image, err error) {
	want := server.Query{Kind: server.Image, Place: place, ID: q.ID, Name: q.Name}
	if q.Artifact != "" {
		want.Tag, want.Values = publish.Artifact, []string{q.Artifact}
	}
	found, err := j.d.api.list(ctx, want)
	for _, t := range found {
		if q.Project == "" || t.Tags[publish.Project] == q.Project {
			list = append(list, image{t})
		}
	}
	return list, err
}

// Copy implements publish.Images.
func (j *job) Copy(ctx context.Context, from image, place string) (string, *resource.Record, error) {
	return j.create(ctx, server.Creation{From: from.ID}, place)
}

// Change implements publish.Images.
func (j *job) Change(ctx context.Context, i image) error {
	tags := j.SettingsMarks(256, i.Tags)
	for _, label := range j.Dropped(i.Tags) {
		tags[label] = ""
	}
	maps.Copy(tags, j.o.Labels)
	return j.d.api.tag(ctx, i.ID, tags)
}

// Mark implements publish.Images.
func (j *job) Mark(ctx context.Context, i image, marks map[string]string) error {
	return j.d.api.tag(ctx, i.ID, marks)
}

// Delete implements publish.Images.
func (j *job) Delete(ctx context.Context, i image) error { return j.d.api.delete(ctx, i.ID) }

// Retire implements publish.Retainer.
func (j *job) Retire(ctx context.Context, place string, images []image, why string) error {
	for _, i := range images {
		if err := j.Delete(ctx, i); err != nil {
			return err
		}
		j.Say("%s: removed %s, %s", place, i.Name, why)
	}
	return nil
}
