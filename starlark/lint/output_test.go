package lint

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var odd = []Finding{{
	Rule: "unused-load", Severity: Warning, File: "a b,c:50%#1.star", Line: 2, Col: 3, EndLine: 4, EndCol: 5,
	Message: "100%: a, b\r\n::error::c", Hint: "d",
}}

// TestGitHub holds that a finding is one command whatever it says: the runner reads "%",
// line ends and, in properties, ":" and "," as they are escaped here.
func TestGitHub(t *testing.T) {
	var out bytes.Buffer
	if err := WriteGitHub(&out, odd); err != nil {
		t.Fatal(err)
	}
	want := "::warning file=a b%2Cc%3A50%25#1.star,line=2,col=3,endLine=4,endColumn=5,title=unused-load::100%25: a, b%0D%0A::error::c%0Ad\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestSARIF holds what SARIF's own validator and GitHub ask for beyond the schema: every
// result is of a rule that is described, regions count from 1, and files are references
// of URIs. The whole was judged by Microsoft's SARIF Multitool 5.7, with its rules for
// GitHub, which is too large to be installed by each run of the tests.
func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	if err := WriteSARIF(&out, "1.2.3", Rules(), odd); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 {
		t.Fatalf("log %+v", log)
	}
	ids := map[string]bool{}
	for _, r := range log.Runs[0].Tool.Driver.Rules {
		if ids[r.ID] || r.Short.Text == "" || r.Full.Text == "" || r.Help.Text == "" || r.Defaults.Level == "" {
			t.Errorf("rule %+v", r)
		}
		ids[r.ID] = true
	}
	r := log.Runs[0].Results[0]
	if !ids[r.RuleID] {
		t.Errorf("the rule %q is not described", r.RuleID)
	}
	want := sarifPhysical{sarifArtifact{"./a%20b,c:50%25%231.star"}, sarifRegion{2, 3, 4, 5}}
	if diff := cmp.Diff(want, r.Locations[0].Physical); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
