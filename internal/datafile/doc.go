// Package datafile reads JSON, YAML and TOML into values that know their line and
// column, so that what is wrong with a value can be told where its author wrote it.
//
// A Value is what JSON can hold: numbers keep the text that they were written with,
// dates of YAML and TOML are strings, and the fields of an object keep their order.
package datafile
