// Package sparse finds the data in files with holes, as lseek(2) tells of it.
package sparse
