package spec

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// The elements of a JUnit report, with the names and attributes that the schema of
// Jenkins' xUnit plugin (junit-10.xsd) has.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`

		elapsed time.Duration
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		Class     string        `xml:"classname,attr"`
		Time      string        `xml:"time,attr"`
		Skipped   *junitMessage `xml:"skipped,omitempty"`
		Failure   *junitMessage `xml:"failure,omitempty"`
		SystemOut string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// A junit report is one document of XML, written at the end.
type junit struct {
	w      io.Writer
	render Renderer
	begin  time.Time
	suites []junitSuite
}

// NewJUnit returns a Reporter for programs that read JUnit's XML. A file is a suite.
func NewJUnit(w io.Writer, render Renderer) Reporter { return &junit{w: w, render: render} }

func (j *junit) Begin(int) error {
	j.begin = time.Now()
	return nil
}

func (j *junit) Result(r Result) error {
	if len(j.suites) == 0 || j.suites[len(j.suites)-1].Name != r.Show {
		j.suites = append(j.suites, junitSuite{Name: r.Show, Timestamp: j.begin.UTC().Format("2006-01-02T15:04:05")})
	}
	s := &j.suites[len(j.suites)-1]
	c := junitCase{
		Name: r.Name, Class: strings.ReplaceAll(strings.TrimSuffix(path.Clean(r.Show), ".star"), "/", "."),
		Time: junitTime(r.Elapsed), SystemOut: strings.Join(r.Log, "\n"),
	}
	if c.Name == "" {
		c.Name = path.Base(r.Show)
	}
	switch r.Status {
	case Skipped:
		s.Skipped++
		c.Skipped = &junitMessage{Message: r.Reason}
	case Failed:
		s.Failures++
		text, err := r.rendered(j.render)
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(text, "\n")
		c.Failure = &junitMessage{Message: first, Type: "failure", Text: text}
	}
	s.Tests++
	s.elapsed += r.Elapsed
	s.Time = junitTime(s.elapsed)
	s.Cases = append(s.Cases, c)
	return nil
}

func (j *junit) End(s Summary) error {
	if _, err := io.WriteString(j.w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(j.w)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Name: "bake test", Tests: s.Total(), Failures: s.Failed, Time: junitTime(s.Elapsed), Suites: j.suites}); err != nil {
		return err
	}
	_, err := io.WriteString(j.w, "\n")
	return err
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
