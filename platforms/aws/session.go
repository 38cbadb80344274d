package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms"
)

// sessionPlugin is AWS's program that speaks the protocol of Session Manager.
const sessionPlugin = "session-manager-plugin"

// Check implements platforms.Checker.
func (d *driver) Check() []platforms.Problem {
	if d.options.Connect != connectSession {
		return nil
	}
	if _, err := exec.LookPath(sessionPlugin); err == nil {
		return nil
	}
	return []platforms.Problem{{
		What: sessionPlugin + " is not installed", Fix: "install the Session Manager plugin for the AWS CLI, a package of AWS's", Need: `aws(connect = "session-manager")`,
	}}
}

// dialSession connects to the instance's SSH server by Session Manager: AWS opens
// the session, and its plugin carries the bytes.
func (m *machine) dialSession(ctx context.Context) (net.Conn, error) {
	c, err := m.d.clients.ssm(ctx, m.region)
	if err != nil {
		return nil, err
	}
	in := &ssm.StartSessionInput{
		Target: aws.String(m.id), DocumentName: aws.String("AWS-StartSSHSession"), Parameters: map[string][]string{"portNumber": {fmt.Sprint(sshPort)}},
	}
	out, err := c.StartSession(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("start a session: %w", err) // also until the agent in the instance is there
	}
	response, err := json.Marshal(map[string]string{
		"SessionId": aws.ToString(out.SessionId), "StreamUrl": aws.ToString(out.StreamUrl), "TokenValue": aws.ToString(out.TokenValue),
	})
	if err != nil {
		return nil, err
	}
	request, err := json.Marshal(map[string]any{"Target": m.id, "DocumentName": *in.DocumentName, "Parameters": in.Parameters})
	if err != nil {
		return nil, err
	}
	// The token is on no command line, which others of this host could read.
	endpoint, err := ssm.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, ssm.EndpointParameters{Region: aws.String(m.region)})
	if err != nil {
		return nil, fmt.Errorf("find the endpoint of Session Manager: %w", err)
	}
	cmd := exec.Command(sessionPlugin, responseVariable, m.region, "StartSession", m.d.options.Profile, string(request),
		cmp.Or(aws.ToString(c.Options().BaseEndpoint), endpoint.URI.String()))
	cmd.Env = append(cmd.Environ(), responseVariable+"="+string(response))
	end := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, err := c.TerminateSession(ctx, &ssm.TerminateSessionInput{SessionId: out.SessionId})
		return err
	}
	conn, err := startConn(cmd, end)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", sessionPlugin, err), end())
	}
	return conn, nil
}

// responseVariable is where the plugin, from its version 1.2.497 on, looks for the
// answer of StartSession.
const responseVariable = "AWS_SSM_START_SESSION_RESPONSE"

// A programConn is a connection by the standard input and output of a program.
type programConn struct {
	io.Reader
	io.Writer
	close func() error
}

func startConn(cmd *exec.Cmd, end func() error) (*programConn, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	ended, err := tool.Start(cmd)
	if err != nil {
		return nil, err
	}
	return &programConn{out, in, sync.OnceValue(func() error {
		err := cmd.Process.Kill()
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-ended // that it was killed is no news
		return errors.Join(err, end())
	})}, nil
}

// Close implements net.Conn.
func (c *programConn) Close() error { return c.close() }

// LocalAddr implements net.Conn.
func (c *programConn) LocalAddr() net.Addr { return programAddr{} }

// RemoteAddr implements net.Conn.
func (c *programConn) RemoteAddr() net.Addr { return programAddr{} }

// SetDeadline implements net.Conn: there are none.
func (c *programConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn: there are none.
func (c *programConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn: there are none.
func (c *programConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type programAddr struct{}

func (programAddr) Network() string { return "session" }
func (programAddr) String() string  { return sessionPlugin }
