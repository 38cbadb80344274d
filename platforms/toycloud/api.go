package toycloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"strings"

	"bake.build/bake/platforms/publish"
	"bake.build/bake/platforms/resource"
	"bake.build/bake/platforms/toycloud/server"
	"bake.build/bake/platforms/wait"
)

// newName returns a name that nothing else has.
func newName() string { return "bake-" + strings.ToLower(rand.Text()) }

// api is the client of the cloud.
type api struct{ endpoint string }

// call sends a request. An error that is not the cloud's own is unclear.
func (a api) call(ctx context.Context, method string, in, out any) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", a.endpoint)
	if err != nil {
		return fmt.Errorf("toycloud: %w", err)
	}
	client := rpc.NewClient(conn)
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer func() {
		if stop() {
			client.Close()
		}
	}()
	err = client.Call("Cloud."+method, in, out)
	if refusal := rpc.ServerError(""); err != nil && !errors.As(err, &refusal) {
		err = resource.Unclear(errors.Join(context.Cause(ctx), err))
	}
	if err != nil {
		return fmt.Errorf("toycloud: %s: %w", strings.ToLower(method), err)
	}
	return nil
}

func (a api) list(ctx context.Context, q server.Query) (list []server.Thing, err error) {
	err = a.call(ctx, "List", q, &list)
	return list, err
}

func (a api) get(ctx context.Context, id string) (server.Thing, error) {
	list, err := a.list(ctx, server.Query{ID: id})
	if err == nil && len(list) == 0 {
		err = wait.ErrNotFound
	}
	if err != nil {
		return server.Thing{}, err
	}
	return list[0], nil
}

func (a api) tag(ctx context.Context, id string, tags map[string]string) error {
	return a.call(ctx, "Tag", server.Tagging{ID: id, Tags: tags}, &struct{}{})
}

func (a api) delete(ctx context.Context, id string) error {
	return a.call(ctx, "Delete", id, &struct{}{})
}

// ask sends the request that makes something.
func (d *driver) ask(ctx context.Context, c server.Creation) (id string, err error) {
	var answer server.Answer
	if err := d.api.call(ctx, "Create", c, &answer); err != nil {
		return "", err
	}
	if answer.Taken {
		return "", fmt.Errorf("%s: %w", c.Name, publish.ErrTaken)
	}
	return answer.ID, nil
}

// create records something and makes it.
func (d *driver) create(ctx context.Context, c server.Creation) (id string, record *resource.Record, err error) {
	return resource.Make(ctx, d.Manager, c.Kind, c.Place, c.Name, func(ctx context.Context) (string, error) { return d.ask(ctx, c) })
}
