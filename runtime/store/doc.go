// Package store is the local content-addressed layer cache.
package store
