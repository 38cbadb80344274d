package awstest

import (
	"net/http"
	"slices"
	"strings"
)

// VolumePermissions returns who may make volumes of a snapshot.
func (c *Cloud) VolumePermissions(id string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.snapshots[id].users)
}

// shared returns what a request gives to or takes from whom, by the beginning of its
// fields' names: "LaunchPermission" or "CreateVolumePermission".
func shared(call Call, field string) (add, remove []string) {
	for name := range call.Form {
		parts := strings.Split(name, ".")
		switch {
		case len(parts) != 4 || parts[0] != field:
		case parts[1] == "Add":
			add = append(add, call.Form.Get(name))
		default:
			remove = append(remove, call.Form.Get(name))
		}
	}
	return add, remove
}

// change returns who has something after a change, and "" or why it cannot be.
func (c *Cloud) change(now, add, remove []string, snapshot string) (then []string, code string) {
	s := c.snapshots[snapshot]
	_, managed := "", false
	if s != nil && s.encrypted {
		_, managed = c.keyARN(s.region, s.kmsKey)
	}
	switch {
	case len(add) > 0 && managed:
		return now, "InvalidParameter"
	case slices.Contains(add, "all") && (c.BlockPublic || s != nil && s.encrypted):
		return now, "OperationNotPermitted"
	}
	for _, who := range slices.Concat(add, remove) {
		now = slices.DeleteFunc(now, func(p string) bool { return p == who })
	}
	now = append(now, add...)
	slices.Sort(now)
	return now, ""
}

func (c *Cloud) modifyImageAttribute(w http.ResponseWriter, call Call) {
	i := c.image(w, call)
	if i == nil {
		return
	}
	add, remove := shared(call, "LaunchPermission")
	then, code := c.change(i.Permissions, add, remove, i.Snapshot)
	if code != "" {
		refuse(w, call, 400, code, "The image cannot be shared so")
		return
	}
	i.Permissions = then
	done(w, call)
}

func (c *Cloud) modifySnapshotAttribute(w http.ResponseWriter, call Call) {
	s := c.snapshots[call.Form.Get("SnapshotId")]
	add, remove := shared(call, "CreateVolumePermission")
	switch {
	case s == nil || s.region != call.Region:
		refuse(w, call, 400, "InvalidSnapshot.NotFound", "The snapshot does not exist.")
		return
	case len(add) > 0 && len(remove) > 0:
		refuse(w, call, 400, "InvalidParameterCombination", "Add or remove, not both")
		return
	}
	then, code := c.change(s.users, add, remove, call.Form.Get("SnapshotId"))
	if code != "" {
		refuse(w, call, 400, code, "The snapshot cannot be shared so")
		return
	}
	s.users = then
	done(w, call)
}

func (c *Cloud) describeSnapshotAttribute(w http.ResponseWriter, call Call) {
	s := c.snapshots[call.Form.Get("SnapshotId")]
	if s == nil || s.region != call.Region {
		refuse(w, call, 400, "InvalidSnapshot.NotFound", "The snapshot does not exist.")
		return
	}
	var items []string
	for _, who := range s.users {
		items = append(items, element("item", element(permissionKind(who), text(who))))
	}
	ok(w, call, element("snapshotId", call.Form.Get("SnapshotId")), element("createVolumePermission", items...))
}
