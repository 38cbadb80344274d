package installer

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/iso"
)

// A fileServer serves files to a guest. It listens on the loopback of this host where the
// guest reaches that by an address of the hypervisor's; that nobody else reads the files,
// their path begins with a word that only the guest is told.
type fileServer struct {
	address string // of the folder for the guest, with a slash at the end
	http    *http.Server
	ended   chan error
}

// serve serves the files below paths, and those that the definition makes, to a guest.
func serve(paths []string, made platforms.Files, host Host) (*fileServer, error) {
	files, err := filesOf(paths, made)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", host.Listen)
	if err != nil {
		return nil, err
	}
	token := strings.ToLower(rand.Text()[:12]) // typed by keys
	handler := servedFiles{}
	for _, f := range files {
		handler["/"+token+"/"+f.Name] = f
	}
	s := &fileServer{
		address: "http://" + net.JoinHostPort(host.Name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)) + "/" + token + "/",
		http:    &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute},
		ended:   make(chan error, 1),
	}
	go func() { s.ended <- ignoreServerClosed(s.http.Serve(l)) }()
	return s, nil
}

// servedFiles are files by the paths that they are asked for by.
type servedFiles map[string]iso.File

// ServeHTTP implements http.Handler.
func (s servedFiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := s[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	content, err := f.Open()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = content.Close() }() // it was only read
	if seeker, ok := content.(io.ReadSeeker); ok {
		http.ServeContent(w, r, f.Name, time.Time{}, seeker)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(f.Size, 10))
	_, _ = io.Copy(w, content) // a guest that goes away is its own business
}

func ignoreServerClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *fileServer) close() error { return errors.Join(s.http.Close(), <-s.ended) }
