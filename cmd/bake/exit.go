package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"bake.build/bake/runtime/build"
)

// The exit codes of bake. They are part of its interface.
const (
	exitOK          = 0
	exitFailed      = 1   // a step, a test or an export failed, or a check found something
	exitUsage       = 2   // the command line is wrong, or names what does not exist
	exitDefinition  = 3   // the definition, its parameters or its inputs are wrong
	exitHost        = 4   // this host lacks a tool, a right or space that the build needs
	exitDamaged     = 5   // the store held damaged layers (bake cache verify)
	exitInterrupted = 130 // stopped by a signal
)

// exitCodes documents the codes, for the reference and the help text.
var exitCodes = []struct {
	code int
	doc  string
}{
	{exitOK, "success, or nothing to do"},
	{exitFailed, "a step, a test or an export failed; `bake fmt --check` or `bake lint` found something"},
	{exitUsage, "the command line is wrong, or names what does not exist"},
	{exitDefinition, "the definition, its parameters or its inputs are wrong"},
	{exitHost, "this host lacks a tool, a right or space that the build needs"},
	{exitDamaged, "the store held damaged layers (`bake cache verify`)"},
	{exitInterrupted, "stopped by a signal"},
}

// kindCodes are the exit codes of the kinds of errors.
var kindCodes = map[build.Kind]int{build.KindUsage: exitUsage, build.KindDefinition: exitDefinition, build.KindHost: exitHost}

// A sessionError is how an interactive session ended, or a check that has printed what
// it found: its status is that of bake, and there is nothing to tell.
type sessionError struct{ status int }

func (e *sessionError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// onlySession reports whether err says no more than how a session ended.
func onlySession(err error) bool {
	switch e := err.(type) {
	case *sessionError:
		return true
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !onlySession(err) })
	case interface{ Unwrap() error }:
		return onlySession(e.Unwrap())
	}
	return false
}

// A codedError carries the exit code that it asks for.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// coded gives err an exit code, unless it has one or is nil.
func coded(code int, err error) error {
	if c := (*codedError)(nil); err == nil || errors.As(err, &c) || build.KindOf(err) != "" {
		return err
	}
	return &codedError{code, err}
}

// exitCode returns the code that err asks for.
func exitCode(err error) int {
	var c *codedError
	var session *sessionError
	switch {
	case err == nil:
		return exitOK
	case onlySession(err) && errors.As(err, &session):
		return session.status
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &c):
		return c.code
	case build.KindOf(err) != "":
		return kindCodes[build.KindOf(err)]
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS):
		return exitHost
	}
	return exitFailed
}
