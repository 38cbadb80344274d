package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Site is where the instances of a driver run: a P, which has what they share. It is made
// for the first one, and what was made for it is removed when the driver is closed. The zero
// value is ready; it is safe for concurrent use.
type Site[P any] struct {
	mu    sync.Mutex
	place *P // nil before the first instance

	endsMu sync.Mutex
	ends   []string
}

// Place returns the place, which is made where there is none.
func (s *Site[P]) Place(make func() (*P, error)) (*P, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place != nil {
		return s.place, nil
	}
	p, err := make()
	if err != nil {
		return nil, err
	}
	s.place = p
	return p, nil
}

// Ending notes that an instance is ending, which Close waits for.
func (s *Site[P]) Ending(id string) {
	s.endsMu.Lock()
	defer s.endsMu.Unlock()
	s.ends = append(s.ends, id)
}

// closeTimeout is how long Close waits for the cloud.
const closeTimeout = 15 * time.Minute

// Close waits with gone for the end of instances and then calls cleanups, all of them: the
// ledger keeps what cannot be removed. Where there was no instance it does nothing.
func (s *Site[P]) Close(platform string, gone func(ctx context.Context, p *P, id string) error, cleanups ...func(ctx context.Context, p *P) error) error {
	s.mu.Lock()
	p := s.place
	s.place = nil
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.endsMu.Lock()
	ends := s.ends
	s.ends = nil
	s.endsMu.Unlock()
	var errs []error
	for _, id := range ends {
		errs = append(errs, gone(ctx, p, id))
	}
	for _, f := range cleanups {
		errs = append(errs, f(ctx, p))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: clean up (bake gc does it later): %w", platform, err)
	}
	return nil
}

// OwnAddress returns the address that packets to a host go out from. It sends none.
func OwnAddress(ctx context.Context, host string) (netip.Addr, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", net.JoinHostPort(host, "22"))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}
