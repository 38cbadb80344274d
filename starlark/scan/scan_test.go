package scan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComments(t *testing.T) {
	text := "# one\nx = \"# no\" # two  \r\ny = '''\n# no\n''' # three\nz = r'\\'' # four\n\tf( # five\n\t# six\n)"
	want := []Comment{
		{Line: 1, Col: 1, Offset: 0, Text: "# one", Alone: true},
		{Line: 2, Col: 12, Offset: 17, Text: "# two"},
		{Line: 5, Col: 5, Offset: 43, Text: "# three"},
		{Line: 6, Col: 11, Offset: 61, Text: "# four"},
		{Line: 7, Col: 5, Offset: 72, Text: "# five"},
		{Line: 8, Col: 2, Offset: 80, Text: "# six", Alone: true},
	}
	if diff := cmp.Diff(want, Comments([]byte(text))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, open := range []string{`"`, `'''\`, "'''"} { // of no file that parses: no panic
		if got := Comments([]byte(open)); got != nil {
			t.Errorf("%q has the comments %v", open, got)
		}
	}
}
