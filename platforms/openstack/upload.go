package openstack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/wait"
)

// imageTimeout is how long the cloud may take with an image that it has got.
const imageTimeout = 2 * time.Hour

// uploadTries is how often an image is uploaded.
const uploadTries = 4

// errImport is part of the error of an import that the cloud offers and does not take.
var errImport = errors.New("the cloud refuses the import")

// make has an image in a region, with the data of from or else of the job's disk, under
// the artifact's name. A transfer that breaks is begun again with a new image.
func (j *job) make(ctx context.Context, region string, from image) (id string, record *resource.Record, err error) {
	direct := j.o.ViaImport == uploadDirect
	pause := wait.Backoff{Next: j.d.pause, Double: true, Jitter: true, Most: backoffMost}
	for try := 1; ; try++ {
		var made *image
		made, record, err = j.try(ctx, region, from, direct)
		switch {
		case err == nil:
			return j.christen(ctx, *made, record)
		case errors.Is(err, errImport) && j.o.ViaImport == "":
			direct = true // as clouds do that have the import for administrators alone
		case try == uploadTries || !broken(err) || ctx.Err() != nil:
			return "", nil, err
		}
		j.say("%s: %v: the upload begins again", region, err)
		if err := pause.Wait(ctx); err != nil {
			return "", nil, err
		}
	}
}

// christen gives an image that is whole its name, unless another build was quicker.
func (j *job) christen(ctx context.Context, i image, record *resource.Record) (string, *resource.Record, error) {
	taken := func() error { return fmt.Errorf("%s: %w", j.name, publish.ErrTaken) }
	drop := func() error { return j.d.remove(ctx, i) }
	list, err := j.Find(ctx, i.region, publish.Query{Name: j.name})
	if err != nil {
		return "", record, err
	} else if len(list) > 0 {
		return "", record, errors.Join(taken(), drop())
	}
	var c change
	c.set("name", j.name)
	if err := j.d.change(ctx, i, c); err != nil {
		return "", record, resource.Unclear(err)
	}
	if list, err = j.Find(ctx, i.region, publish.Query{Name: j.name}); err != nil {
		return "", record, err
	}
	switch {
	case len(list) == 0:
		return "", record, resource.Unclear(fmt.Errorf("%s: the image %s has not kept the name %s", i.region, i.ID, j.name))
	case list[0].ID != i.ID: // the oldest is the one
		return "", record, errors.Join(taken(), drop())
	}
	return i.ID, record, nil
}

// try makes one image, and removes it where that fails.
func (j *job) try(ctx context.Context, region string, from image, direct bool) (made *image, record *resource.Record, err error) {
	id := uuid.NewString()
	_, record, err = resource.Make(ctx, j.d.Manager, kindImage, region, id, func(ctx context.Context) (_ string, err error) {
		made, err = j.upload(ctx, region, id, from, direct)
		if err != nil && !resource.IsUnclear(err) { // what is unclear is looked for
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
			defer cancel()
			if dropErr := j.d.removeID(clean, region, id); dropErr != nil {
				err = resource.Unclear(errors.Join(err, dropErr))
			}
		}
		return id, err
	})
	return made, record, err
}

// cleanTimeout is how long what has failed is taken away.
const cleanTimeout = time.Minute

// upload makes the image with the id and sends it its data.
func (j *job) upload(ctx context.Context, region, id string, from image, direct bool) (*image, error) {
	c, err := j.d.clients.images(ctx, region)
	if err != nil {
		return nil, err
	}
	s, err := j.source(region, from)
	if err != nil {
		return nil, err
	}
	defer s.close()
	format := j.o.format()
	if from.ID != "" {
		format = from.DiskFormat
	}
	properties := maps.Clone(j.properties)
	maps.Copy(properties, j.d.options.Metadata)
	maps.Copy(properties, j.life().Marks())
	made, err := j.create(ctx, c, region, images.CreateOpts{
		ID: id, Name: "bake-upload-" + id, DiskFormat: format, ContainerFormat: "bare", Properties: properties,
	})
	if err != nil {
		return nil, err
	}
	offered := func(method imageimport.ImportMethod) bool {
		return slices.Contains(made.OpenStackImageImportMethods, string(method))
	}
	staged := offered(imageimport.GlanceDirectMethod) && !direct
	switch {
	case j.o.ViaImport == uploadImport && !staged:
		return nil, &platforms.OptionError{Err: fmt.Errorf("upload: %s does not offer glance-direct, which disks are imported by", region)}
	case j.o.ViaImport == uploadWeb && !offered(imageimport.WebDownloadMethod):
		return nil, &platforms.OptionError{Err: fmt.Errorf("upload: %s does not offer web-download, by which it would fetch the disk: it offers %q", region, made.OpenStackImageImportMethods)}
	}
	if err := fits(ctx, c, region, s.size, staged); err != nil {
		return nil, err
	}
	if j.o.ViaImport == uploadWeb {
		err = j.fetched(ctx, c, region, id, format, s)
	} else if err = s.begin(ctx); err != nil {
		return nil, err
	} else if err = j.send(ctx, c, id, &body{Reader: s, size: s.size}, staged); err != nil {
		err = transfer(err)
		if denied(err) && offered(imageimport.WebDownloadMethod) {
			err = fmt.Errorf("%w\nhint: upload = %q lets the cloud fetch it", err, uploadWeb)
		}
	}
	if err = errors.Join(s.failure(), err); err != nil {
		return nil, fmt.Errorf("%s: upload %s: %w", region, j.name, err)
	}
	return j.verify(ctx, region, id, format, s)
}

// create makes an image without data. Whether the project may make it public is found out
// before anything is sent.
func (j *job) create(ctx context.Context, c *gophercloud.ServiceClient, region string, o images.CreateOpts) (*images.Image, error) {
	public := images.ImageVisibility(j.o.Visibility) == images.ImageVisibilityPublic
	if public {
		o.Visibility = new(images.ImageVisibilityPublic)
	}
	made, err := images.Create(ctx, c, o).Extract()
	switch {
	case denied(err) && public:
		return nil, &platforms.OptionError{Err: fmt.Errorf("visibility: the project may not make public images in %s, or none at all: %w", region, explain(err))}
	case err != nil:
		return nil, fmt.Errorf("%s: make the image %s: %w", region, j.name, judge(err))
	case !public:
		return made, nil
	}
	var hide change // until it is whole
	hide.set("visibility", images.ImageVisibilityPrivate)
	return made, j.d.change(ctx, image{Image: *made, region: region}, hide)
}

// send sends the data, staged to where Glance's interoperable import takes it from.
func (j *job) send(ctx context.Context, c *gophercloud.ServiceClient, id string, b *body, staged bool) error {
	if !staged {
		return imagedata.Upload(ctx, c, id, b).ExtractErr()
	}
	err := imagedata.Stage(ctx, c, id, b).ExtractErr()
	if err == nil {
		err = imageimport.Create(ctx, c, id, imageimport.CreateOpts{Name: imageimport.GlanceDirectMethod}).ExtractErr()
	}
	for _, code := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		if gophercloud.ResponseCodeIs(err, code) {
			return fmt.Errorf("%w: %w", errImport, explain(err))
		}
	}
	return err
}

// transfer says of a failure that the data was on its way.
func transfer(err error) error {
	answer := gophercloud.ErrUnexpectedResponseCode{}
	if errors.As(err, &answer) && answer.Actual/100 == 4 {
		if answer.Actual == http.StatusRequestEntityTooLarge {
			return fmt.Errorf("the image is larger than the project's quota, or than the cloud takes: %w", explain(err))
		}
		return explain(err)
	}
	return &brokenError{explain(err)}
}

// A brokenError is that of an upload which may go well the next time.
type brokenError struct{ error }

func (b *brokenError) Unwrap() error { return b.error }

func broken(err error) bool {
	var b *brokenError
	return errors.As(err, &b)
}

// verify waits until the image is active, compares its hash with that of what was sent, and
// returns it.
func (j *job) verify(ctx context.Context, region, id, format string, s *source) (*image, error) {
	i, err := j.d.watch(ctx, region, id, 0, func(_ context.Context, i image) (bool, error) {
		if why := i.failedImport(); why != "" {
			return false, &brokenError{fmt.Errorf("the import into the stores %s has failed", why)}
		}
		f := i.Facts()
		if f.State == publish.Failed || i.Status == images.ImageStatusQueued {
			return false, &brokenError{fmt.Errorf("the cloud has not taken it: its status is %s", i.Status)}
		}
		return f.State == publish.Available && !i.importing(), nil
	})
	if err != nil {
		return nil, err
	}
	if i.DiskFormat != format {
		j.say("%s: the cloud has converted %s to %s, whose hash cannot be compared", region, j.name, i.DiskFormat)
		return i, nil
	}
	algorithm, has := i.hash()
	want, err := s.sum(ctx, algorithm)
	if err != nil {
		return nil, err
	}
	if want == "" && has == "" { // before Glance of Rocky
		if sent := s.sent.Len(); i.SizeBytes != sent {
			return nil, &brokenError{fmt.Errorf("%s: the image %s has %d bytes, and %d were sent", region, id, i.SizeBytes, sent)}
		}
		return i, nil
	}
	if has != want {
		return nil, &brokenError{fmt.Errorf("%s: the image %s has the %s hash %.16s…, and what was sent has %.16s…", region, id, algorithm, has, want)}
	}
	j.say("%s: uploaded %s (%s), %d bytes, %s %.16s…", region, j.name, id, s.sent.Len(), algorithm, has)
	return i, nil
}
