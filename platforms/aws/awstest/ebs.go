package awstest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// blockSize is the size of a block of a snapshot in bytes.
const blockSize = 512 << 10

// A snapshot is one of EBS, in one region.
type snapshot struct {
	region    string
	gib       int64
	tags      map[string]string
	begun     time.Time
	encrypted bool
	kmsKey    string
	code      string         // a product code
	users     []string       // who may make volumes of it
	disk      any            // of Machines; nil for one that blocks were sent to
	blocks    map[int][]byte // sent to it
	inherited map[int][]byte // from its parent
	done      bool           // it was completed, and becomes so after a while
	broken    bool           // it failed
	looks     int            // how often it was looked at since then
}

func (s *snapshot) state(pending int) string {
	switch {
	case s.broken:
		return "error"
	case s.done && s.looks >= pending:
		return "completed"
	}
	return "pending"
}

func (s *snapshot) block(i int) []byte {
	if b := s.blocks[i]; b != nil {
		return b
	}
	return s.inherited[i]
}

// Snapshots returns the ids of all snapshots in all regions.
func (c *Cloud) Snapshots() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.snapshots))
}

// Completed reports whether all blocks of a snapshot are there.
func (c *Cloud) Completed(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.snapshots[id]
	return s != nil && s.done
}

// Tags returns the tags of a snapshot or an image.
func (c *Cloud) Tags(id string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.tagsOf(id))
}

// Tag sets a tag of a snapshot or an image.
func (c *Cloud) Tag(id, key, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tagsOf(id)[key] = value
}

func (c *Cloud) tagsOf(id string) map[string]string {
	if s := c.snapshots[id]; s != nil {
		return s.tags
	}
	if i := c.images[id]; i != nil {
		return i.Tags
	}
	if i := c.instances[id]; i != nil {
		return i.tags
	}
	return nil
}

// Encryption returns how a snapshot is encrypted.
func (c *Cloud) Encryption(id string) (encrypted bool, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshots[id].encrypted, c.snapshots[id].kmsKey
}

// Break makes a snapshot one that failed.
func (c *Cloud) Break(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snapshots[id].broken = true
}

// Content returns a block as a volume of the snapshot would have it.
func (c *Cloud) Content(id string, block int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.snapshots[id].block(block); b != nil {
		return b
	}
	return make([]byte, blockSize)
}

func (c *Cloud) routeEBS(call Call, r *http.Request, body []byte) (Call, operation) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	at := func(i int) string {
		if i < len(parts) {
			return parts[i]
		}
		return ""
	}
	call.Snapshot = at(1)
	switch {
	case r.Method == http.MethodPost && len(parts) == 1:
		call.Op = "StartSnapshot"
		return call, func(w http.ResponseWriter, call Call) { c.start(w, call, body) }
	case r.Method == http.MethodPost && at(1) == "completion":
		call.Op, call.Snapshot = "CompleteSnapshot", at(2)
		return call, func(w http.ResponseWriter, call Call) { c.complete(w, r, call) }
	case r.Method == http.MethodGet && at(2) == "blocks" && len(parts) == 3:
		call.Op = "ListSnapshotBlocks"
		return call, func(w http.ResponseWriter, call Call) { c.list(w, r, call) }
	case at(2) == "blocks" && len(parts) == 4:
		call.Block, _ = strconv.Atoi(at(3)) // one that is no number is not found
		if r.Method == http.MethodPut {
			call.Op = "PutSnapshotBlock"
			return call, func(w http.ResponseWriter, call Call) { c.put(w, r, call, body) }
		}
		call.Op = "GetSnapshotBlock"
		return call, c.get
	}
	return call, nil
}

func (c *Cloud) start(w http.ResponseWriter, call Call, body []byte) {
	var in struct {
		VolumeSize       int64
		ParentSnapshotId string
		ClientToken      string
		Encrypted        bool
		KmsKeyArn        string
		Tags             []struct{ Key, Value string }
	}
	if err := json.Unmarshal(body, &in); err != nil || in.VolumeSize < 1 || in.ClientToken == "" {
		refuse(w, call, 400, "ValidationException", "StartSnapshot: %v", err)
		return
	}
	parent := c.snapshots[in.ParentSnapshotId]
	switch {
	case in.ParentSnapshotId != "" && (parent == nil || !parent.done || parent.region != call.Region):
		refuse(w, call, 404, "ResourceNotFoundException", "the parent %s is not there or not complete", in.ParentSnapshotId)
		return
	case parent != nil && parent.gib > in.VolumeSize:
		refuse(w, call, 400, "ValidationException", "the parent is larger")
		return
	case in.KmsKeyArn != "" && !strings.HasPrefix(in.KmsKeyArn, "arn:"):
		refuse(w, call, 400, "ValidationException", "%s is no ARN of a key", in.KmsKeyArn)
		return
	case parent != nil && !parent.encrypted && c.EncryptByDefault:
		refuse(w, call, 400, "ValidationException", "the parent is not encrypted, and the account encrypts by default")
		return
	case parent != nil && in.Encrypted:
		refuse(w, call, 400, "ValidationException", "a snapshot with a parent is encrypted as that one")
		return
	}
	id := c.tokens[in.ClientToken]
	if id == "" {
		id = c.id("snap")
		s := &snapshot{
			region: call.Region, gib: in.VolumeSize, tags: map[string]string{}, begun: time.Now(),
			blocks: map[int][]byte{}, inherited: map[int][]byte{},
		}
		s.encrypted, s.kmsKey = c.encrypts(call.Region, in.Encrypted, in.KmsKeyArn)
		if parent != nil {
			maps.Copy(s.inherited, parent.inherited)
			maps.Copy(s.inherited, parent.blocks)
			s.encrypted, s.kmsKey = parent.encrypted, parent.kmsKey
		}
		for _, t := range in.Tags {
			s.tags[t.Key] = t.Value
		}
		c.snapshots[id], c.tokens[in.ClientToken] = s, id
	}
	answer(w, 201, map[string]any{"SnapshotId": id, "BlockSize": blockSize, "VolumeSize": in.VolumeSize, "Status": "pending", "StartTime": 1e9})
}

func (c *Cloud) put(w http.ResponseWriter, r *http.Request, call Call, body []byte) {
	s := c.snapshots[call.Snapshot]
	sum := sha256.Sum256(body)
	digest := base64.StdEncoding.EncodeToString(sum[:])
	switch {
	case s == nil || s.region != call.Region:
		refuse(w, call, 404, "ResourceNotFoundException", "The snapshot '%s' does not exist.", call.Snapshot)
	case s.done || s.broken:
		refuse(w, call, 400, "ValidationException", "the snapshot is not pending")
	case len(body) != blockSize || r.Header.Get("X-Amz-Data-Length") != strconv.Itoa(blockSize):
		refuse(w, call, 400, "ValidationException", "a block of %d bytes", len(body))
	case int64(call.Block) >= s.gib<<30/blockSize || call.Block < 0:
		refuse(w, call, 400, "ValidationException", "block %d is outside of the volume", call.Block)
	case r.Header.Get("X-Amz-Checksum-Algorithm") != "SHA256" || r.Header.Get("X-Amz-Checksum") != digest:
		refuse(w, call, 400, "ValidationException", "the checksum of block %d is wrong", call.Block)
	default:
		s.blocks[call.Block] = body
		w.Header().Set("X-Amz-Checksum", digest)
		w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
		answer(w, 201, map[string]any{})
	}
}

func (c *Cloud) complete(w http.ResponseWriter, r *http.Request, call Call) {
	s := c.snapshots[call.Snapshot]
	if s == nil || s.region != call.Region {
		refuse(w, call, 404, "ResourceNotFoundException", "The snapshot '%s' does not exist.", call.Snapshot)
		return
	}
	all := sha256.New()
	for _, i := range slices.Sorted(maps.Keys(s.blocks)) {
		sum := sha256.Sum256(s.blocks[i])
		all.Write(sum[:])
	}
	want := base64.StdEncoding.EncodeToString(all.Sum(nil))
	count, err := strconv.Atoi(r.Header.Get("X-Amz-Changedblockscount"))
	switch got := r.Header.Get("X-Amz-Checksum"); {
	case err != nil || count != len(s.blocks):
		refuse(w, call, 400, "ValidationException", "%d changed blocks are told, and %d were sent", count, len(s.blocks))
	case len(s.blocks) > 0 && got != want:
		refuse(w, call, 400, "ValidationException", "the checksum of the snapshot is %s, and not %s", want, got)
	case len(s.blocks) > 0 && r.Header.Get("X-Amz-Checksum-Aggregation-Method") != "LINEAR":
		refuse(w, call, 400, "ValidationException", "an unknown aggregation method")
	default:
		s.done = true
		answer(w, 202, map[string]any{"Status": "pending"})
	}
}

// perPage is how many blocks a page of a list has.
const perPage = 100

func (c *Cloud) list(w http.ResponseWriter, r *http.Request, call Call) {
	s := c.snapshots[call.Snapshot]
	if s == nil || !s.done || s.region != call.Region {
		refuse(w, call, 404, "ResourceNotFoundException", "The snapshot '%s' does not exist.", call.Snapshot)
		return
	}
	var all []map[string]any
	for i := range int(s.gib << 30 / blockSize) {
		if s.block(i) != nil {
			all = append(all, map[string]any{"BlockIndex": i, "BlockToken": fmt.Sprintf("token-%d", i)})
		}
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("pageToken")) // none is the first page
	page := map[string]any{"BlockSize": blockSize, "VolumeSize": s.gib, "ExpiryTime": 4e9, "Blocks": all[from:min(from+perPage, len(all))]}
	if from+perPage < len(all) {
		page["NextToken"] = strconv.Itoa(from + perPage)
	}
	answer(w, 200, page)
}

func (c *Cloud) get(w http.ResponseWriter, call Call) {
	s := c.snapshots[call.Snapshot]
	if s == nil || s.block(call.Block) == nil {
		refuse(w, call, 404, "ResourceNotFoundException", "no such block")
		return
	}
	b := s.block(call.Block)
	sum := sha256.Sum256(b)
	w.Header().Set("X-Amz-Checksum", base64.StdEncoding.EncodeToString(sum[:]))
	w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
	w.Header().Set("X-Amz-Data-Length", strconv.Itoa(len(b)))
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(b) // the client may have gone
}
