package vsphere

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vapi/library"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// An image in a content library is an item. Items have versions: another image of the
// artifact is a new version of the one item, so that none is kept beside it and nothing
// is copied. What bake knows of an item is the last line of its description, since items
// have no place for marks.

// libraryVM is the choice of library_type for a VM template.
const libraryVM = library.ItemTypeVMTX

// itemMarks are what bake knows of an item. One with Begun is being changed by that build.
type itemMarks struct {
	Project  string `json:"project,omitempty"`
	Artifact string `json:"name,omitempty"`
	Key      string `json:"key,omitempty"`     // of the content that was finished last
	Version  string `json:"version,omitempty"` // of that content
	Begun    string `json:"build,omitempty"`
	At       string `json:"begun,omitempty"` // when
}

// marksPrefix begins the line of the marks.
const marksPrefix = "bake: "

// describeItem is the description of an item.
func describeItem(text string, m itemMarks) (string, error) {
	b, err := json.Marshal(m)
	return strings.TrimLeft(text+"\n"+marksPrefix+string(b), "\n"), err
}

// marksOf returns what bake knows of an item; ok is false for what bake has not made.
func marksOf(i *library.Item) (m itemMarks, ok bool) {
	if i == nil || i.Description == nil {
		return m, false
	}
	at := strings.LastIndex(*i.Description, marksPrefix)
	return m, at >= 0 && json.Unmarshal([]byte((*i.Description)[at+len(marksPrefix):]), &m) == nil
}

// An itemJob is one publication in a content library.
type itemJob struct {
	*job
	*libraries
	lib  *library.Library
	name string // of the item
}

// inLibrary calls use with the library of the publication.
func (j *job) inLibrary(ctx context.Context, use func(i *itemJob) error) error {
	return j.d.withLibraries(ctx, func(l *libraries) error {
		lib, err := l.library(ctx, "library", j.o.Library)
		if err != nil {
			return err
		}
		if lib.Type != "LOCAL" {
			return &platforms.OptionError{Err: fmt.Errorf("library: %s takes what another library has: name that one", lib.Name)}
		}
		return use(&itemJob{j, l, lib, cmp.Or(j.o.LibraryItem, j.p.Name)})
	})
}

// find returns the item, or nil, if it is one that the publication may change.
func (j *itemJob) find(ctx context.Context) (*library.Item, itemMarks, error) {
	i, _, err := j.item(ctx, j.lib, j.name)
	if errors.Is(err, wait.ErrNotFound) {
		return nil, itemMarks{}, nil
	} else if err != nil {
		return nil, itemMarks{}, err
	}
	m, ours := marksOf(i)
	switch {
	case !ours:
		err = fmt.Errorf("library_item: %s has an item %q that bake has not made: name another one", j.lib.Name, j.name)
	case m.Project != j.d.host.Ledger().Project() || m.Artifact != j.p.Name:
		err = fmt.Errorf("library_item: the item %q of %s is that of the artifact %s of %s: name another one", j.name, j.lib.Name, m.Artifact, cmp.Or(m.Project, "no project"))
	case i.Type != j.o.itemType():
		err = fmt.Errorf("library_type: the item %q of %s is of the type %q, which does not change: name another one", j.name, j.lib.Name, i.Type)
	}
	if err != nil {
		return nil, m, &platforms.OptionError{Err: err}
	}
	return i, m, nil
}

// itemType is the type of the items.
func (p *Publication) itemType() string { return cmp.Or(p.LibraryType, library.ItemTypeOVF) }

// published returns the item, or why it is not as the definition wants it.
func (j *itemJob) published(ctx context.Context) ([]platforms.Registered, string, error) {
	i, m, err := j.find(ctx)
	switch {
	case err != nil:
		return nil, "", err
	case i == nil:
		return nil, fmt.Sprintf("no item %s in %s", j.name, j.lib.Name), nil
	case m.Begun != "":
		return nil, fmt.Sprintf("the item %s of %s is not finished", j.name, j.lib.Name), nil
	case m.Key != j.p.Key:
		return nil, fmt.Sprintf("the item %s of %s is of another definition", j.name, j.lib.Name), nil
	case m.Version != itemVersion(i):
		return nil, fmt.Sprintf("somebody has changed the item %s of %s", j.name, j.lib.Name), nil
	}
	return []platforms.Registered{j.registered(i, m)}, "", nil
}

func (j *itemJob) registered(i *library.Item, m itemMarks) platforms.Registered {
	r := platforms.Registered{ID: i.ID, Place: j.lib.Name, Name: i.Name, Tags: map[string]string{publish.Artifact: m.Artifact, publish.Ready: m.Key, "version": m.Version}}
	if i.LastModifiedTime != nil {
		r.Created = *i.LastModifiedTime
	}
	return r
}

// publish makes the item, or a new version of it.
func (j *itemJob) publish(ctx context.Context, from platforms.ImageSource) ([]platforms.Registered, error) {
	if found, why, err := j.published(ctx); err != nil || why == "" {
		return found, err
	}
	old, m, err := j.find(ctx)
	if err != nil {
		return nil, err
	}
	record, err := j.d.Begin(ctx, kindItem, "", j.lib.ID+"/"+j.name)
	if err != nil {
		return nil, err
	}
	m.Project, m.Artifact = j.d.host.Ledger().Project(), j.p.Name
	m.Begun, m.At = j.d.host.Ledger().Build(), now()
	var i *library.Item
	if from.Layer == "" && j.o.itemType() == library.ItemTypeOVF {
		i, err = j.upload(ctx, old, m, from.Disk)
	} else {
		i, err = j.capture(ctx, old, m, from)
	}
	if err != nil {
		return nil, record.Failed(ctx, resource.Unclear(fmt.Errorf("%s/%s: %w", j.lib.Name, j.name, err)))
	}
	m.Key, m.Version, m.Begun, m.At = j.p.Key, itemVersion(i), "", ""
	if err := j.mark(ctx, i, m); err != nil {
		return nil, record.Failed(ctx, resource.Unclear(err))
	}
	j.say("%s: %s has the version %s (%s)", j.lib.Name, j.name, m.Version, i.ID)
	return []platforms.Registered{j.registered(i, m)}, errors.Join(record.Forget(), j.synchronise(ctx, i))
}

// mark writes the description of an item.
func (j *itemJob) mark(ctx context.Context, i *library.Item, m itemMarks) error {
	text, err := describeItem(j.o.Description, m)
	if err != nil {
		return err
	}
	if err := j.UpdateLibraryItem(ctx, &library.Item{ID: i.ID, Name: j.name, Description: &text}); err != nil {
		return fmt.Errorf("describe the item: %w", err)
	}
	return nil
}

// synchronise has the subscribers of the library take the item over, where the library
// knows them. Others look by themselves.
func (j *itemJob) synchronise(ctx context.Context, i *library.Item) error {
	if j.lib.Publication == nil || j.lib.Publication.Published == nil || !*j.lib.Publication.Published {
		return nil
	}
	subscribers, err := j.ListSubscribers(ctx, j.lib)
	if err != nil {
		return fmt.Errorf("list the subscribers of %s: %w", j.lib.Name, err)
	}
	if len(subscribers) == 0 {
		return nil
	}
	if err := j.PublishLibraryItem(ctx, i, true, nil); err != nil {
		return fmt.Errorf("have the subscribers of %s take %s over: %w", j.lib.Name, j.name, err)
	}
	j.say("%s: %d subscribers take %s over", j.lib.Name, len(subscribers), j.name)
	return nil
}
