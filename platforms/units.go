package platforms

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

// ParseSize reads a size such as "4G", "512M", "1.5G", "64KiB" or "1048576B":
// bytes with binary suffixes, greater than zero. Decimal units such as "4GB" are
// refused, since tools disagree on what they mean, and so is a number alone:
// some mean mebibytes by it and some gibibytes.
func ParseSize(s string) (int64, error) {
	fail := func(why string) (int64, error) {
		return 0, fmt.Errorf("size %q: %s", s, why)
	}
	number, unit := strings.TrimSpace(s), int64(1)
	upper := strings.ToUpper(number)
	if n := strings.TrimRight(upper, "0123456789."); n == "" && upper != "" {
		return fail(fmt.Sprintf("want a unit: %sG, %sM, or %sB for bytes", number, number, number))
	}
	for _, u := range sizeUnits {
		if strings.HasSuffix(upper, u.suffix+"B") {
			return fail(fmt.Sprintf("want a binary suffix such as %q", u.suffix))
		}
		if cut, ok := strings.CutSuffix(upper, u.suffix+"IB"); ok {
			number, unit = cut, u.bytes
		} else if cut, ok := strings.CutSuffix(upper, u.suffix); ok {
			number, unit = cut, u.bytes
		}
	}
	if unit == 1 {
		number = strings.TrimSuffix(upper, "B")
	}
	number = strings.TrimSpace(number)
	if strings.Trim(number, "0123456789.") != "" || number == "" {
		return fail(`want a number with a suffix, such as "4G" or "512M"`)
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n > math.MaxInt64/unit {
			return fail("too large")
		}
		if n == 0 {
			return fail("must be greater than zero")
		}
		return n * unit, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return fail(`want a number with a suffix, such as "4G" or "512M"`)
	}
	bytes := f * float64(unit)
	switch {
	case bytes >= math.MaxInt64:
		return fail("too large")
	case bytes < 1 || bytes != math.Trunc(bytes):
		return fail("not a whole number of bytes")
	}
	return int64(bytes), nil
}

// FormatSize writes n bytes in the largest unit that divides it, so that equal
// sizes are written alike: 4294967296 is "4G".
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// maxDays bounds durations: a hundred years.
const maxDays = 36500

// days matches the days that a duration may begin with.
var days = regexp.MustCompile(`^([0-9]+)d([0-9].*)?$`)

// ParseDuration reads a duration such as "90s", "10m", "1h30m" or "30d", greater
// than zero. A day has 24 hours.
func ParseDuration(s string) (time.Duration, error) {
	text, whole := strings.TrimSpace(s), time.Duration(0)
	if m := days.FindStringSubmatch(text); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > maxDays {
			return 0, fmt.Errorf("duration %q: too long", s)
		}
		whole, text = time.Duration(n)*24*time.Hour, cmp.Or(m[2], "0s")
	}
	d, err := time.ParseDuration(text)
	if err == nil && d > maxDays*24*time.Hour {
		return 0, fmt.Errorf("duration %q: too long", s)
	}
	if err != nil {
		return 0, fmt.Errorf(`duration %q: want a number with a unit, such as "90s", "10m", "1h30m" or "30d"`, s)
	}
	d += whole
	if d <= 0 {
		return 0, fmt.Errorf("duration %q: must be greater than zero", s)
	}
	return d, nil
}
