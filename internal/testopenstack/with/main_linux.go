// Command with runs another one while an OpenStack runs that the tests in it share:
//
//	go run ./internal/testopenstack/with COMMAND ARGS…
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"bake.build/bake/internal/testopenstack"
)

func main() {
	if err := with(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "with OpenStack:", err)
		os.Exit(1)
	}
}

func with(command []string) error {
	if len(command) == 0 {
		return errors.New("want a command")
	}
	root, err := testopenstack.Root()
	if err != nil {
		return err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return testopenstack.With(root, cmd)
}
