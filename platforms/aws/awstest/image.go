package awstest

import (
	"slices"
	"time"
)

// shows reports whether an image is in a list: one that its owner has deprecated is not,
// unless that is asked for.
func (c *Cloud) shows(call Call, i *Image) bool {
	at, err := time.Parse(time.RFC3339, i.Deprecated)
	return err != nil || i.Owner == "self" || at.After(time.Now()) || call.Form.Get("IncludeDeprecated") == "true"
}

func further(i *Image) string {
	all := ""
	for _, device := range i.Volumes {
		all += element("item", element("deviceName", device), element("ebs", element("volumeSize", "1")))
	}
	return all
}

// source returns an image that can be copied, of this account or of another one that
// shares it and its snapshot.
func (c *Cloud) source(id string) (*Cloud, *Image) {
	if c.images[id] != nil && c.images[id].Name != "" {
		return c, c.images[id]
	}
	for _, owner := range c.accounts {
		if owner == c {
			continue
		}
		owner.mu.Lock()
		i := owner.images[id]
		shared := i != nil && slices.Contains(i.Permissions, c.Number) && slices.Contains(owner.snapshots[i.Snapshot].users, c.Number)
		owner.mu.Unlock()
		if shared {
			return owner, i
		}
	}
	return nil, nil
}
