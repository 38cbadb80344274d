package vsphere

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/vapi/library"
	"github.com/vmware/govmomi/vapi/rest"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// collectItem ends what a build has begun with an item: its sessions, and the item where
// it has no content that was finished.
func (d *driver) collectItem(ctx context.Context, r platforms.Resource) (got platforms.Collected, err error) {
	lib, name := path.Split(r.ID)
	err = d.withLibraries(ctx, func(l *libraries) error {
		i, _, err := l.item(ctx, &library.Library{ID: strings.TrimSuffix(lib, "/"), Name: lib}, name)
		if errors.Is(err, wait.ErrNotFound) || rest.IsStatusError(err, http.StatusNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		m, ok := marksOf(i)
		switch {
		case !ok || m.Begun == "":
			got.Kept = "the item " + name + " is finished"
			return nil
		case m.Begun != r.Build:
			got.Kept = "the build " + m.Begun + " has taken the item " + name + " over"
			return nil
		}
		if err := l.endSessions(ctx, i.ID); err != nil {
			return err
		}
		got.Removed = true
		if m.Key == "" {
			return l.DeleteLibraryItem(ctx, i)
		}
		text := strings.TrimSuffix((*i.Description)[:strings.LastIndex(*i.Description, marksPrefix)], "\n")
		m.Begun, m.At = "", ""
		if text, err = describeItem(text, m); err != nil {
			return err
		}
		return l.UpdateLibraryItem(ctx, &library.Item{ID: i.ID, Name: i.Name, Description: &text})
	})
	return got, err
}

// endSessions removes the sessions that upload to an item.
func (l *libraries) endSessions(ctx context.Context, item string) error {
	ids, err := l.ListLibraryItemUpdateSession(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		s, err := l.GetLibraryItemUpdateSession(ctx, id)
		if rest.IsStatusError(err, http.StatusNotFound) || err == nil && s.LibraryItemID != item {
			continue
		} else if err != nil {
			return err
		}
		if s.State == "ACTIVE" {
			if err := l.CancelLibraryItemUpdateSession(ctx, id); err != nil && !rest.IsStatusError(err, http.StatusNotFound) {
				return err
			}
		}
		if err := l.DeleteLibraryItemUpdateSession(ctx, id); err != nil && !rest.IsStatusError(err, http.StatusNotFound) {
			return err
		}
	}
	return nil
}

// taggedItems returns the items that builds have begun.
func (d *driver) taggedItems(ctx context.Context) (found []resource.Found, err error) {
	c, err := d.vim(ctx)
	if err != nil || !c.IsVC() {
		return nil, err
	}
	err = d.withLibraries(ctx, func(l *libraries) error {
		all, err := l.GetLibraries(ctx)
		if err != nil {
			return err
		}
		for _, lib := range all {
			if lib.Type != "LOCAL" {
				continue
			}
			items, err := l.GetLibraryItems(ctx, lib.ID)
			if err != nil {
				return err
			}
			for _, i := range items {
				if m, ok := marksOf(&i); ok && m.Begun != "" {
					f := resource.Found{Kind: kindItem, ID: lib.ID + "/" + i.Name, Build: m.Begun}
					f.Made, _ = time.Parse(time.RFC3339, m.At) // none is as long ago
					found = append(found, f)
				}
			}
		}
		return nil
	})
	return found, err
}
