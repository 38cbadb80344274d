//go:build !linux

package main

import (
	"context"
	"errors"
)

func measureVSphere(context.Context, *bench) ([]row, error) {
	return nil, errors.New("the stand-in for vCenter is compiled for Linux alone")
}
