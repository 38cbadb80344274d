package solve

import (
	"cmp"
	"fmt"

	"bake.build/bake/platforms"
)

// A pool counts what is taken of each resource. Its owner guards it.
type pool struct {
	used map[string]int64
}

// take takes all claims or none. It returns the claim that did not fit. A claim
// of more than there is fits when nothing else is taken, so that it is slow
// rather than stuck.
func (p *pool) take(claims []Claim) (short *Claim) {
	for i, c := range claims {
		if used := p.used[c.Resource]; used > 0 && c.Amount > 0 && used+c.Amount > c.Capacity {
			return &claims[i]
		}
	}
	for _, c := range claims {
		p.used[c.Resource] += c.Amount
	}
	return nil
}

func (p *pool) give(claims []Claim) {
	for _, c := range claims {
		p.used[c.Resource] -= c.Amount
	}
}

func (c *Claim) String() string {
	if c.Bytes {
		return fmt.Sprintf("%s of %s (limit %s)", size(c.Amount), c.Resource, size(c.Capacity))
	}
	return fmt.Sprintf("%s (limit %d)", cmp.Or(c.shown, c.Resource), c.Capacity)
}

// size writes a number of bytes for users: whole MiB, or GiB where that is exact.
func size(n int64) string { return platforms.FormatSize(max(n>>20, 1) << 20) }
