package platforms

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64 // 0: an error
	}{
		{"4G", 4 << 30}, {"4096M", 4 << 30}, {"4g", 4 << 30}, {"4GiB", 4 << 30}, {" 4 G ", 4 << 30},
		{"1.5G", 3 << 29}, {"512B", 512}, {"512b", 512}, {"512 B", 512}, {"64K", 64 << 10}, {"2T", 2 << 40}, {"0.5K", 512},
		{"8388607T", 8388607 << 40},
		{"", 0}, {"G", 0}, {"4GB", 0}, {"-4G", 0}, {"0", 0}, {"0G", 0}, {"0.0001K", 0}, {"1e3M", 0},
		{"8388608T", 0}, {"99999999999999999999", 0}, {"4Gx", 0}, {"0x10", 0}, {"1.2.3G", 0}, {"NaN", 0}, {"4MG", 0},
		{"512", 0}, {"20", 0}, {"1.5", 0}, {"B", 0}, {"0B", 0}, {"4BB", 0}, {"1.5B", 0},
	} {
		got, err := ParseSize(c.in)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration // 0: an error
	}{
		{"90s", 90 * time.Second}, {"1h30m", 90 * time.Minute}, {" 10m", 10 * time.Minute},
		{"", 0}, {"90", 0}, {"0s", 0}, {"-1s", 0}, {"9999999999h", 0},
		{"1d", 24 * time.Hour}, {"30d12h", 732 * time.Hour}, {"0d", 0}, {"d", 0}, {"1d2d", 0}, {"36501d", 0}, {"99999999999999999999d", 0}, {"1d-2h", 0},
	} {
		got, err := ParseDuration(c.in)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", c.in, got, err, c.want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"4G", "512M", "1.5G", "64KiB", "7B", "7", "8388607T", "4GB", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if n <= 0 {
			t.Fatalf("ParseSize(%q) = %d", s, n)
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n {
			t.Fatalf("%q: %d is written %q, which reads %d, %v", s, n, FormatSize(n), again, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"90s", "10m", "1h30m", "-1s", "1d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := ParseDuration(d.String()); d <= 0 || err != nil || again != d {
			t.Fatalf("%q: %v reads %v, %v", s, d, again, err)
		}
	})
}
