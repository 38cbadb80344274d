package ovf

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// quantity returns a number with its unit, in bytes where that is one of bytes. A number
// that is asked for at the deployment, "${…}", is 0.
func quantity(number, units string) (int64, error) {
	if number == "" || strings.HasPrefix(number, "${") {
		return 0, nil
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", number)
	}
	unit, err := unitOf(units)
	if err != nil {
		return 0, err
	}
	high, low := bits.Mul64(n, unit)
	if high != 0 || low > 1<<62 {
		return 0, fmt.Errorf("%s %s are more than any machine has", number, units)
	}
	return int64(low), nil
}

// unitOf returns the bytes of a unit of DSP0004, "byte" times factors such as 2^20 and
// 1024, or of one of the words that programs have written in its place.
func unitOf(units string) (uint64, error) {
	words := map[string]uint64{
		"byte": 1, "bytes": 1, "kilobytes": 1 << 10, "kb": 1 << 10, "megabytes": 1 << 20, "mb": 1 << 20,
		"gigabytes": 1 << 30, "gb": 1 << 30, "terabytes": 1 << 40, "tb": 1 << 40,
	}
	factors := strings.Split(strings.ToLower(strings.Join(strings.Fields(units), "")), "*")
	unit, ok := words[factors[0]]
	if !ok || unit != 1 && len(factors) > 1 {
		return 0, fmt.Errorf("the unit %q is not one of bytes", units)
	}
	for _, factor := range factors[1:] {
		text, power, raised := strings.Cut(factor, "^")
		base, err := strconv.ParseUint(text, 10, 32)
		n, powerErr := uint64(1), error(nil)
		if raised {
			n, powerErr = strconv.ParseUint(power, 10, 8)
		}
		if err != nil || powerErr != nil || base == 0 || n >= 64 {
			return 0, fmt.Errorf("the unit %q is not one of bytes", units)
		}
		for range n {
			var high uint64
			if high, unit = bits.Mul64(unit, base); high != 0 {
				return 0, fmt.Errorf("the unit %q is more than any machine has", units)
			}
		}
	}
	return unit, nil
}
