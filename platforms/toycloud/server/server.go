// Package server is a cloud in memory, for the test of the driver beside it: images and
// instances in two places, found by their tags, and nothing that the next cloud has not.
// It is reached by net/rpc, so that it outlives the process of a build.
package server

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kinds of things.
const (
	Image    = "image"
	Instance = "instance"
)

// Places are where things can be.
func Places() []string { return []string{"here", "there"} }

// A Thing is an image or an instance.
type Thing struct {
	Kind, ID, Name, Place string
	Tags                  map[string]string
	Made                  time.Time
	Address               string // of an instance: "host:port" of its SSH server
}

// A Query chooses things. Fields that are "" choose all; so does an empty list of values.
type Query struct {
	Kind, Place, ID, Name string
	Tag                   string   // that things have,
	Values                []string // with one of these values
}

func (q *Query) fits(t *Thing) bool {
	value, has := t.Tags[q.Tag]
	return (q.Kind == "" || q.Kind == t.Kind) && (q.Place == "" || q.Place == t.Place) && (q.ID == "" || q.ID == t.ID) &&
		(q.Name == "" || q.Name == t.Name) && (q.Tag == "" || has && (len(q.Values) == 0 || slices.Contains(q.Values, value)))
}

// A Creation asks for a thing. An image is made of From, the id of an image or an
// instance, or of the file File; an instance of the image From, and lets Key in.
type Creation struct {
	Thing
	From, File, Key string
}

// An Answer of Create. Taken says that there is an image of the name.
type Answer struct {
	ID    string
	Taken bool
}

// A Tagging sets tags of a thing, and removes those that are "".
type Tagging struct {
	ID   string
	Tags map[string]string
}

// A Cloud is all there is. Its exported methods are its API.
type Cloud struct {
	// asked, if not nil, is called when a request to make something has been done and
	// not been answered.
	asked func(c Creation)

	dir    string
	fleet  Machines
	listen net.Listener

	mu     sync.Mutex
	things []*Thing
	disks  map[string]string // by the id of an image: a directory, or a file
	n      int
}

// Machines are what instances run in; a testsshd.Fleet is.
type Machines interface {
	Start(instance string, disk any, keys, userData string) (address string, err error)
	Save(instance string) (disk any, err error)
	Stop(instance string)
}

// Start starts a cloud that keeps its disks in dir. It has one image in each place, the
// distribution's.
func Start(dir string, machines Machines) (*Cloud, error) {
	c := &Cloud{dir: dir, fleet: machines, disks: map[string]string{}}
	for _, place := range Places() {
		c.add(Thing{Kind: Image, Name: "distribution", Place: place})
	}
	s := rpc.NewServer()
	if err := s.RegisterName("Cloud", &API{c}); err != nil {
		return nil, err
	}
	var err error
	if c.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := c.listen.Accept()
			if err != nil {
				return // it is closed
			}
			go s.ServeConn(conn)
		}
	}()
	return c, nil
}

// Endpoint returns the address of the API.
func (c *Cloud) Endpoint() string { return c.listen.Addr().String() }

// Close ends the cloud, and not its machines.
func (c *Cloud) Close() error { return c.listen.Close() }

// All returns what fits.
func (c *Cloud) All(q Query) (list []Thing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.things {
		if q.fits(t) {
			seen := *t
			seen.Tags = maps.Clone(t.Tags)
			list = append(list, seen)
		}
	}
	return list
}

func (c *Cloud) add(t Thing) *Thing {
	c.n++
	t.ID, t.Made = fmt.Sprintf("%s-%d", t.Kind, c.n), time.Now()
	c.things = append(c.things, &t)
	return &t
}

func (c *Cloud) find(id string) *Thing {
	if i := slices.IndexFunc(c.things, func(t *Thing) bool { return t.ID == id }); i >= 0 {
		return c.things[i]
	}
	return nil
}

// API is what is called from outside.
type API struct{ c *Cloud }

// List returns the things that fit.
func (a *API) List(q Query, list *[]Thing) error {
	*list = a.c.All(q)
	return nil
}

// Create makes a thing.
func (a *API) Create(r Creation, answer *Answer) error {
	err := a.create(r, answer)
	a.c.mu.Lock()
	asked := a.c.asked
	a.c.mu.Unlock()
	if asked != nil {
		asked(r)
	}
	return err
}

// OnCreate has asked called after each creation, before its answer; nil ends that.
func (c *Cloud) OnCreate(asked func(Creation)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = asked
}

func (a *API) create(r Creation, answer *Answer) (err error) {
	c := a.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Kind == Image && slices.ContainsFunc(c.things, func(t *Thing) bool { return t.Kind == Image && t.Name == r.Name && t.Place == r.Place }) {
		answer.Taken = true
		return nil
	}
	from := c.find(r.From)
	if r.File == "" && from == nil {
		return fmt.Errorf("there is no %s", r.From)
	}
	disk := c.disks[r.From]
	switch {
	case r.File != "":
		disk = filepath.Join(c.dir, fmt.Sprintf("uploaded-%d", c.n))
		err = copyFile(disk, r.File)
	case from.Kind == Instance:
		var saved any
		if saved, err = c.fleet.Save(r.From); err == nil {
			disk = saved.(string)
		}
	}
	if err != nil {
		return err
	}
	t := c.add(r.Thing)
	answer.ID = t.ID
	if t.Kind == Image {
		c.disks[t.ID] = disk
		return nil
	}
	upper, err := unpacked(disk)
	if err != nil {
		return err
	}
	host, err := c.fleet.Start(t.ID, upper, r.Key, "")
	t.Address = host + ":22"
	return err
}

// unpacked returns the directory of a disk; an uploaded one is an archive of it.
func unpacked(disk string) (dir any, err error) {
	if disk == "" {
		return nil, nil
	}
	if info, err := os.Stat(disk); err != nil || info.IsDir() {
		return disk, err
	}
	dst := disk + ".files"
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return nil, err
	}
	if out, err := exec.Command("tar", "-xf", disk, "-C", dst).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return dst, nil
}

func copyFile(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Tag sets tags.
func (a *API) Tag(r Tagging, _ *struct{}) error {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	t := a.c.find(r.ID)
	if t == nil {
		return fmt.Errorf("there is no %s", r.ID)
	}
	if t.Tags == nil {
		t.Tags = map[string]string{}
	}
	maps.Copy(t.Tags, r.Tags)
	maps.DeleteFunc(t.Tags, func(_, value string) bool { return value == "" })
	return nil
}

// Delete removes a thing. One that is not there is no error.
func (a *API) Delete(id string, _ *struct{}) error {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.c.fleet.Stop(id)
	a.c.things = slices.DeleteFunc(a.c.things, func(t *Thing) bool { return t.ID == id })
	return nil
}
