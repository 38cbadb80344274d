package openstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/platforms/wait"
)

// An offer is the data of one image, served by HTTP for Glance to fetch. Its path cannot be
// guessed, and the hash of what was fetched is compared in the end.
type offer struct {
	path   string
	source *source

	mu    sync.Mutex // one at a time: the source has one hash
	asked chan struct{}
	once  sync.Once
}

// ServeHTTP implements http.Handler.
func (o *offer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != o.path || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if o.source.size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(o.source.size, 10))
	}
	if r.Method == http.MethodHead {
		return
	}
	if !o.mu.TryLock() {
		w.Header().Del("Content-Length")
		http.Error(w, "it is being fetched", http.StatusServiceUnavailable)
		return
	}
	defer o.mu.Unlock()
	o.once.Do(func() { close(o.asked) })
	if err := o.source.begin(r.Context()); err != nil {
		w.Header().Del("Content-Length")
		http.Error(w, "it cannot be read", http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, o.source) // Glance finds out what is missing, and the hash tells
}

// askTime is how long Glance may take until it asks for what is offered.
const askTime = 5 * time.Minute

// fetched has Glance import an image by web-download: from this host, which serves it until
// the image is whole or has failed.
func (j *job) fetched(ctx context.Context, c *gophercloud.ServiceClient, region, id, format string, s *source) (err error) {
	l, host, err := j.listen(ctx, c)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	o := &offer{path: "/" + strings.ToLower(rand.Text()) + "/image." + format, source: s, asked: make(chan struct{})}
	server := &http.Server{Handler: o, ReadHeaderTimeout: 20 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		closeErr := server.Close()
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			closeErr = errors.Join(closeErr, serveErr)
		}
		o.mu.Lock() // until nobody reads the source
		defer o.mu.Unlock()
		err = errors.Join(err, closeErr)
	}()
	at := "http://" + host
	j.say("%s: %s is offered at %s to be fetched", region, j.name, at)
	if err := imageimport.Create(ctx, c, id, imageimport.CreateOpts{Name: imageimport.WebDownloadMethod, URI: at + o.path}).ExtractErr(); err != nil {
		return fmt.Errorf("the cloud refuses to fetch from %s: %w", at, explain(err))
	}
	err = j.d.loop(fmt.Sprintf("%s: image %s is to be fetched from %s", region, id, at), askTime, 0).Until(ctx, func(ctx context.Context) (bool, error) {
		select {
		case <-o.asked:
			return true, nil
		default:
		}
		i, err := j.d.image(ctx, region, id)
		if err == nil && i == nil {
			err = wait.ErrNotFound
		}
		if err == nil && i.failedImport() != "" {
			err = errors.New("the cloud cannot fetch it: serve says by which address it reaches this host")
		}
		return false, err
	})
	if err != nil {
		return err
	}
	_, err = j.d.watch(ctx, region, id, 0, o.landed)
	return err
}

// landed reports whether Glance has what it fetches, or has failed, which verify judges.
func (o *offer) landed(_ context.Context, i image) (bool, error) {
	if i.failedImport() != "" || i.Status != images.ImageStatusQueued && i.Status != images.ImageStatusImporting {
		return true, nil
	}
	if i.Status != images.ImageStatusQueued || i.property("os_glance_import_task") != "" || !o.mu.TryLock() {
		return false, nil
	}
	o.mu.Unlock()
	return false, &brokenError{errors.New("the cloud has given up the import")}
}

// listen returns a listener for Glance, and the address and port that it is told.
func (j *job) listen(ctx context.Context, c *gophercloud.ServiceClient) (net.Listener, string, error) {
	var config net.ListenConfig
	if j.o.Serve == "" {
		own, err := ownAddress(ctx, c.Endpoint)
		if err != nil {
			return nil, "", err
		}
		l, err := config.Listen(ctx, "tcp", net.JoinHostPort(own.String(), "0"))
		if err != nil {
			return nil, "", err
		}
		return l, l.Addr().String(), nil
	}
	l, err := config.Listen(ctx, "tcp", j.o.Serve)
	if errors.Is(err, syscall.EADDRNOTAVAIL) { // the address of a router that leads here
		_, port, splitErr := net.SplitHostPort(j.o.Serve)
		if splitErr != nil {
			return nil, "", splitErr
		}
		l, err = config.Listen(ctx, "tcp", ":"+port)
	}
	return l, j.o.Serve, err
}
