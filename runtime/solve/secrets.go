package solve

import (
	"errors"
	"fmt"
	"sync"

	"bake.build/bake/runtime/plan"
)

// A SecretUser is an Op that uses secrets.
type SecretUser interface {
	SecretNames() []string
}

// SecretNames returns the names of the secrets that a node uses, its platform's
// first.
func SecretNames(n *plan.Node) []string {
	var names []string
	if n.Platform != nil {
		names = append(names, n.Platform.Secrets...)
	}
	if u, ok := n.Op.(SecretUser); ok {
		names = append(names, u.SecretNames()...)
	}
	return names
}

// secrets asks for each secret once and makes its value masked before anybody
// has it. It is safe for concurrent use.
type secrets struct {
	ask    func(name string) ([]byte, error)
	masker *Masker

	mu    sync.Mutex
	known map[string][]byte
}

func (s *secrets) get(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.known[name]; ok {
		return v, nil
	}
	if s.ask == nil {
		return nil, fmt.Errorf("secret %q: no secrets were given", name)
	}
	v, err := s.ask(name)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	s.masker.Add(v)
	s.known[name] = v
	return v, nil
}

// check asks for every secret that the nodes to run use, so that a missing one
// stops the build before anything runs.
func (s *secrets) check(nodes []*plan.Node) error {
	var errs []error
	told := map[string]bool{}
	for _, n := range nodes {
		for _, name := range SecretNames(n) {
			if _, err := s.get(name); err != nil && !told[name] {
				told[name] = true
				errs = append(errs, &NodeError{Node: n, Err: s.masker.Error(err)})
			}
		}
	}
	return errors.Join(errs...)
}
