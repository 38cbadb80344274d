package rootfs

import (
	"math"
	"strconv"
	"strings"
)

// An idRange is what /etc/subuid and /etc/subgid give to a user.
type idRange struct{ first, count uint64 }

// minSubIDs is what an image needs: nobody is 65534.
const minSubIDs = 65535

// findSubIDs returns the largest range that the database gives to a user, who
// stands there by name or by number. See subuid(5).
func findSubIDs(database, name, uid string) (idRange, bool) {
	var best idRange
	for line := range strings.Lines(database) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name && f[0] != uid {
			continue
		}
		first, err1 := strconv.ParseUint(f[1], 10, 32)
		count, err2 := strconv.ParseUint(f[2], 10, 32)
		// The last number of all is that of nobody, (uid_t)-1.
		if err1 == nil && err2 == nil && count > best.count && first+count <= math.MaxUint32 {
			best = idRange{first, count}
		}
	}
	return best, best.count >= minSubIDs
}
