package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// writeTable prints rows as aligned columns and the notes below them.
func writeTable(w io.Writer, rows []row, notes []string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEASUREMENT\tRESULT\tRUNS\tCOMPARED WITH\tRATIO\tTARGET\t")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Name, quantity(r.Got, r.Unit), r.runs(), r.than(), r.ratio(), r.target(), r.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, "note:", n); err != nil {
			return err
		}
	}
	return nil
}
