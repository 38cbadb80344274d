package main

import (
	"strings"
	"testing"
)

func TestTableFitsTheTerminal(t *testing.T) {
	rows := [][]string{
		{"export: web", "images.star:20", "0123456789ab", "run: new"},
		{"  apt install: nginx-light curl jq and more", "images.star:12", "0123456789ab", "run: packages changed from a to b"},
		{"note only"},
	}
	write := func(width int) string {
		var b strings.Builder
		if err := (&table{rows: rows, drop: 2, cut: []int{0, 3}, more: "…"}).write(&b, width); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := write(0); !strings.Contains(got, "0123456789ab  run: packages changed from a to b\n") {
		t.Errorf("without a limit:\n%s", got)
	}
	want := "export: web                    images.star:20  run: new\n" +
		"  apt install: nginx-light c…  images.star:12  run: packages changed from a to b\n" +
		"note only\n"
	if got := write(80); got != want {
		for line := range strings.Lines(got) {
			t.Logf("%q", line)
		}
		t.Errorf("80 columns:\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(write(40)) {
		if len([]rune(strings.TrimRight(line, "\n"))) > 52 {
			t.Errorf("40 columns: %q", line)
		}
	}
}
