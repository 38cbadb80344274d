package publish_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"bake.build/bake/platforms/publish"
)

// build publishes content as a build of its own does.
func build(t *testing.T, s *toyServer, name, content string, keep int) (*toyCloud, error) {
	t.Helper()
	c := newToy(s, &toyLedger{build: name}, content, keep)
	_, err := c.Publish(t.Context())
	if err == nil && len(c.ledger.records) > 0 {
		t.Errorf("build %s has left %v in the ledger", name, c.ledger.records)
	}
	return c, err
}

func must(t *testing.T, s *toyServer, name, content string, keep int) *toyCloud {
	t.Helper()
	c, err := build(t, s, name, content, keep)
	if err != nil {
		t.Fatalf("build %s: %v", name, err)
	}
	return c
}

// stands wants the publication to be found and the images to be those.
func stands(t *testing.T, c *toyCloud, images string) {
	t.Helper()
	if _, why, err := c.life.Published(t.Context()); err != nil || why != "" {
		t.Errorf("it is not found: %q, %v", why, err)
	}
	if got := fmt.Sprint(c.s.names()); got != images {
		t.Errorf("there are %s, want %s", got, images)
	}
}

const both = "[here/web-one there/web-one]"

// TestLife finds nothing, creates, copies, finishes, finds, and converges both ways.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toyServer{}
		c := newToy(s, &toyLedger{build: "a"}, "one", 0)
		if _, why, err := c.life.Published(t.Context()); err != nil || why != "no image web-one in here" {
			t.Errorf("before: %q, %v", why, err)
		}
		c.share = []string{"bob"}
		if _, err := c.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		stands(t, c, both)
		for _, share := range [][]string{{"bob", "eve"}, nil} {
			c = newToy(s, &toyLedger{build: "b"}, "one", 0)
			c.life.Key, c.share = fmt.Sprint("shared with ", share), share
			if _, why, err := c.life.Published(t.Context()); err != nil || !strings.HasSuffix(why, "is not finished") {
				t.Errorf("with another key: %q, %v", why, err)
			}
			if _, err := c.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			stands(t, c, both)
			for _, i := range s.images {
				if fmt.Sprint(i.shared) != fmt.Sprint(share) || i.marks[publish.Build] != "b" {
					t.Errorf("%s is shared with %v, and of build %s", i.id, i.shared, i.marks[publish.Build])
				}
			}
		}
		other := newToy(s, &toyLedger{build: "c"}, "two", 0)
		other.life.Name = "web-one"
		if _, err := other.Publish(t.Context()); err == nil || !strings.Contains(err.Error(), "the name web-one is taken by the image img-") {
			t.Errorf("a name that is taken: %v", err)
		}
	})
}

// TestFaults has each request fail in each way, at each of its times. The build that
// follows, with gc before it or without, ends with the same two images and an empty
// ledger.
func TestFaults(t *testing.T) {
	for _, op := range []string{"find", "create", "copy", "change", "mark"} {
		for _, fault := range []error{errRefused, errLost} {
			for n := 1; n <= 4; n++ {
				for _, collect := range []bool{false, true} {
					t.Run(fmt.Sprint(op, " ", n, " ", fault, " gc ", collect), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							s := &toyServer{fault: func(o string, i int) error {
								if o == op && i == n {
									return fault
								}
								return nil
							}}
							c, err := build(t, s, "a", "one", 0)
							if (op == "create" || op == "copy") && fault == errLost && err != nil {
								t.Errorf("an image that was made is not found: %v", err)
							}
							if err != nil && !errors.Is(err, fault) {
								t.Errorf("got %v", err)
							}
							s.fault = nil
							if collect {
								for _, r := range c.ledger.records {
									if _, err := c.Collect(t.Context(), r); err != nil {
										t.Error(err)
									}
								}
								for _, i := range s.images {
									if i.marks[publish.Ready] == "" {
										t.Errorf("gc has left %+v", i)
									}
								}
							}
							stands(t, must(t, s, "b", "one", 0), both)
						})
					})
				}
			}
		}
	}
}

// TestCrash ends a build at each of its requests, as a kill does: what it has begun is in
// its ledger, gc removes that alone, and the next build is whole.
func TestCrash(t *testing.T) {
	for n, whole := 1, false; !whole; n++ {
		synctest.Test(t, func(t *testing.T) {
			s := &toyServer{}
			ctx, kill := context.WithCancel(t.Context())
			defer kill()
			s.fault = func(string, int) error {
				if len(s.ops) == n {
					kill()
				}
				return nil
			}
			c := newToy(s, &toyLedger{build: "a"}, "one", 1)
			_, err := c.Publish(ctx)
			whole = err == nil
			s.fault = nil
			for _, r := range c.ledger.records {
				if _, err := c.Collect(t.Context(), r); err != nil {
					t.Error(err)
				}
			}
			for _, i := range s.images {
				if i.marks[publish.Ready] == "" {
					t.Errorf("killed at request %d: left %+v", n, i)
				}
			}
			stands(t, must(t, s, "b", "one", 1), both)
		})
	}
}

// TestFailedImages makes images anew that the cloud could not make, be they this build's
// or another's.
func TestFailedImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toyServer{}
		s.fault = func(op string, n int) error {
			if op == "find" && len(s.images) == 2 {
				s.images[1].state = publish.Failed
			}
			return nil
		}
		if _, err := build(t, s, "a", "one", 0); err == nil || !strings.Contains(err.Error(), "image img-2: the toy broke") {
			t.Errorf("got %v", err)
		}
		s.fault = nil
		if len(s.images) != 1 {
			t.Errorf("a failed image is left: %v", s.names())
		}
		s.images[0].state = publish.Failed
		s.images[0].marks[publish.Ready] = ""
		stands(t, must(t, s, "b", "one", 0), both)
	})
}

// TestTwoAtOnce has another build be first with an image that this one is about to make.
func TestTwoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toyServer{}
		first := newToy(s, &toyLedger{build: "a"}, "one", 0)
		s.fault = func(op string, n int) error {
			if op == "create" && n == 1 {
				s.add("here", "web-one", first.life.Marks())
			}
			return nil
		}
		c := must(t, s, "b", "one", 0)
		stands(t, c, both)
		if s.images[0].marks[publish.Build] != "b" || !strings.Contains(strings.Join(c.said, "\n"), "image img-1 is there already") {
			t.Errorf("of build %s; said %q", s.images[0].marks[publish.Build], c.said)
		}
	})
}

// TestRetention keeps what is used, and tries again in the next build what has failed.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &toyServer{}
		must(t, s, "a", "one", 0)
		must(t, s, "b", "two", 0)
		s.images[0].inUse = true
		s.fault = func(op string, n int) error {
			if op == "delete" && n == 1 {
				return errRefused
			}
			return nil
		}
		c, err := build(t, s, "c", "three", 1)
		if !errors.Is(err, errRefused) || len(c.ledger.records) > 0 {
			t.Errorf("a retention that fails: %v, in the ledger %v", err, c.ledger.records)
		}
		for _, i := range s.images {
			if i.name == "web-three" && i.marks[publish.Ready] == "" {
				t.Errorf("%s is not finished, though older ones alone have failed", i.id)
			}
		}
		if _, why, err := c.life.Published(t.Context()); err != nil || !strings.HasPrefix(why, "older images of web in ") {
			t.Errorf("after it: %q, %v", why, err)
		}
		c = must(t, s, "d", "three", 1)
		stands(t, c, "[here/web-one here/web-three there/web-three]")
		if !strings.Contains(strings.Join(c.said, "\n"), "img-1 is in use") {
			t.Errorf("said %q", c.said)
		}
	})
}

// TestPlaces takes a place out of the definition: images there are removed with keep, also
// those of a time before, and told of without. One that cannot be looked at is told, too.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			content   string // of the definition that goes to one place only
			keep      int
			inUse     bool
			fault     string
			want      string
			said      string
			published string // content that was published before, to both places
		}{
			{content: "one", keep: 0, published: "one", want: "[here/web-one there/web-one]", said: "there: the definition does not name it any more, and web-one (img-2) stays there: with the option keep, it would be removed"},
			{content: "one", keep: 1, published: "one", want: "[here/web-one]"},
			{content: "two", keep: 1, published: "one", want: "[here/web-two]"},
			{content: "two", keep: 2, published: "one", want: "[here/web-one here/web-two]"},
			{content: "two", keep: 1, inUse: true, published: "one", want: "[here/web-two there/web-one]", said: "there: img-2 is in use"},
			{content: "one", keep: 1, fault: "there", published: "one", want: "[here/web-one there/web-one]", said: "there: the definition does not name it any more, and what is there of web stays: refused"},
		} {
			s := &toyServer{}
			must(t, s, "a", c.published, 0)
			s.images[1].inUse = c.inUse
			if got := s.images[1].place; got != "there" {
				t.Fatalf("the second image is %s", got)
			}
			s.add("there", "of-another", map[string]string{publish.Artifact: "web", publish.Ready: "key"})
			next := newToy(s, &toyLedger{build: "b"}, c.content, c.keep)
			next.life.Places, next.life.Key = []string{"here"}, "another key"
			next.denied = c.fault
			if _, err := next.Publish(t.Context()); err != nil {
				t.Errorf("%+v: %v", c, err)
				continue
			}
			got := fmt.Sprint(slices.DeleteFunc(s.names(), func(n string) bool { return n == "there/of-another" }))
			if got != c.want || len(s.names()) == strings.Count(got, "/") {
				t.Errorf("%+v: %v", c, s.names())
			}
			if said := strings.Join(next.said, "\n"); !strings.Contains(said, c.said) || c.said == "" && strings.Contains(said, "there:") {
				t.Errorf("%+v: said %q", c, said)
			}
			if len(next.ledger.records) > 0 {
				t.Errorf("%+v: the ledger has %v", c, next.ledger.records)
			}
		}
	})
}
