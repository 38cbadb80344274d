package awstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Fault is the answer to a request that fails.
type Fault struct {
	Status  int    // of HTTP
	Code    string // such as "ThrottlingException"
	Message string
	Drop    bool // the connection is cut instead
	Lost    bool // the request is done, and the connection is cut before its answer
}

// A Call is one request.
type Call struct {
	Op       string // such as "PutSnapshotBlock" or "RegisterImage"
	N        int    // of this operation, from 1 on
	Region   string
	Snapshot string     // of a request about one
	Block    int        // of a request about one
	Form     url.Values // of EC2
}

// A Cloud is an account, on the server that all accounts share. Its fields are set
// before it is used.
type Cloud struct {
	*httptest.Server

	Number   string // of the account
	accounts map[string]*Cloud

	// Latency is what each request takes, beside others, and Bandwidth how many
	// bytes a second come in over the one link that all share; 0 means no bound.
	Latency   time.Duration
	Bandwidth int64

	// Machines, if not nil, makes instances real: they can be logged in to.
	Machines Machines

	// Pending is how often an image or a snapshot is looked at before it is there.
	Pending int

	// EncryptByDefault is whether all new volumes and snapshots are encrypted, by
	// DefaultKey, or by AWS's own key for "".
	EncryptByDefault bool
	DefaultKey       string

	// BlockPublic is whether images and snapshots cannot be made everybody's.
	BlockPublic bool

	// Unseen is how often what was made just now is not known where it is named, and
	// Lingering how often a snapshot counts as in use after its image is gone.
	Unseen, Lingering int

	mu         sync.Mutex
	unseen     map[string]int
	lingers    map[string]int
	fault      func(c Call) *Fault
	snapshots  map[string]*snapshot
	tokens     map[string]string // of EBS and EC2, to what was made
	images     map[string]*Image
	templates  map[string]string // launch templates, to their image
	others     map[string]string // what else names an image: "configuration", "fleet", "spot fleet"
	instances  map[string]*instance
	vpcs       map[string]*network
	subnets    map[string]*network
	gateways   map[string]*network
	volumes    map[string]*volume
	groups     map[string]*group
	keyPairs   map[string]*keyPair // by region and name
	sessions   map[string]string   // of Session Manager, to their instance
	parameters map[string]string   // "region name" to the value
	made       int                 // ids
	counts     map[string]int
	inFlight   int
	most       int
	linkFree   time.Time
}

// New starts the server on the loopback, after its fields were set by setup. The
// caller closes it.
func New(setup ...func(*Cloud)) *Cloud {
	c := newAccount(FirstAccount)
	c.accounts = map[string]*Cloud{c.Number: c}
	for _, f := range setup {
		f(c)
	}
	c.Server = httptest.NewServer(c)
	return c
}

// FirstAccount is the account of all access keys but those of others.
const FirstAccount = "123456789012"

// Account returns one more account of the server, whose access key is its number. A
// role of it can be assumed by all.
func (c *Cloud) Account(number string) *Cloud {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.accounts[number]
	if a == nil {
		a = newAccount(number)
		a.accounts = c.accounts
		c.accounts[number] = a
	}
	return a
}

func newAccount(number string) *Cloud {
	c := &Cloud{
		Number:    number,
		snapshots: map[string]*snapshot{}, tokens: map[string]string{}, images: map[string]*Image{}, counts: map[string]int{}, unseen: map[string]int{}, lingers: map[string]int{},
		templates: map[string]string{}, others: map[string]string{}, instances: map[string]*instance{}, parameters: map[string]string{},
		volumes: map[string]*volume{}, groups: map[string]*group{}, keyPairs: map[string]*keyPair{}, sessions: map[string]string{},
	}
	c.firstNetworks()
	return c
}

// SetFault has f asked before each request is done, and returns what was asked
// before; nil is nothing. The request of a client that went away may still come.
func (c *Cloud) SetFault(f func(c Call) *Fault) (before func(c Call) *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.fault = c.fault, f
	return before
}

// Count returns how many requests of an operation came.
func (c *Cloud) Count(op string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[op]
}

// Requests returns how many requests came.
func (c *Cloud) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, k := range c.counts {
		n += k
	}
	return n
}

// Operations returns the operations that were asked for.
func (c *Cloud) Operations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for op := range c.counts {
		list = append(list, op)
	}
	slices.Sort(list)
	return list
}

// MostInFlight returns how many requests there were at once, at most.
func (c *Cloud) MostInFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

// Settle returns when no request is being answered: that of a client that went away
// is carried out all the same.
func (c *Cloud) Settle() {
	for {
		c.mu.Lock()
		n := c.inFlight
		c.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// ServeHTTP implements http.Handler.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, _ := credential(r)
	c.mu.Lock()
	a := c.accounts[key]
	c.mu.Unlock()
	if a == nil {
		a = c
	}
	a.serve(w, r)
}

func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.inFlight++
	c.most = max(c.most, c.inFlight)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.inFlight--
		c.mu.Unlock()
	}()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	c.wait(len(body))
	call, do := c.route(r, body)
	c.mu.Lock()
	c.counts[call.Op]++
	call.N = c.counts[call.Op]
	fault := c.fault
	c.mu.Unlock()
	if fault != nil {
		if f := fault(call); f != nil && f.Lost {
			defer cut(w)
			w = &silent{header: http.Header{}}
		} else if f != nil {
			f.answer(w, call)
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if do == nil {
		refuse(w, call, http.StatusBadRequest, "InvalidAction", "no such operation: %s %s %s", r.Method, r.URL.Path, call.Op)
		return
	}
	do(w, call)
}

// An operation answers a request. It is called with the lock held.
type operation func(w http.ResponseWriter, call Call)

func (c *Cloud) route(r *http.Request, body []byte) (Call, operation) {
	call := Call{}
	_, call.Region = credential(r)
	switch target := r.Header.Get("X-Amz-Target"); {
	case strings.HasPrefix(r.URL.Path, "/snapshots"):
		return c.routeEBS(call, r, body)
	case strings.HasPrefix(target, "AmazonSSM."):
		call.Op = strings.TrimPrefix(target, "AmazonSSM.")
		return call, c.ssm(call.Op, body)
	case strings.HasPrefix(target, "TrentService."):
		if call.Op = strings.TrimPrefix(target, "TrentService."); call.Op == "DescribeKey" {
			return call, func(w http.ResponseWriter, call Call) { c.describeKey(w, call, body) }
		}
		return call, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return call, nil
	}
	call.Op, call.Form = form.Get("Action"), form
	return call, c.ec2(call.Op)
}

// credential reads the access key and the region off a request's signature.
func credential(r *http.Request) (key, region string) {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if parts := strings.Split(scope, "/"); len(parts) > 2 {
		return parts[0], parts[2]
	}
	return "", ""
}

// wait takes the time that a request of n bytes takes.
func (c *Cloud) wait(n int) {
	until := time.Now()
	if c.Bandwidth > 0 {
		c.mu.Lock()
		if c.linkFree.Before(until) {
			c.linkFree = until
		}
		c.linkFree = c.linkFree.Add(time.Duration(int64(n) * int64(time.Second) / c.Bandwidth))
		until = c.linkFree
		c.mu.Unlock()
	}
	time.Sleep(time.Until(until.Add(c.Latency)))
}

// id returns a new id.
func (c *Cloud) id(prefix string) string {
	c.made++
	if c.Number != FirstAccount {
		return fmt.Sprintf("%s-%s%05x", prefix, c.Number, c.made)
	}
	return fmt.Sprintf("%s-%017x", prefix, c.made)
}

// cut closes the connection of a request without an answer.
func cut(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close() // that is the point
		}
	}
}

// silent takes an answer that nobody gets.
type silent struct{ header http.Header }

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) Write(p []byte) (int, error) { return len(p), nil }
func (s *silent) WriteHeader(int)             {}

// new notes that something was made, which is not known everywhere at once.
func (c *Cloud) new(id string) {
	if c.Unseen > 0 {
		c.unseen[id] = c.Unseen
	}
}

// knows reports whether something is known where it is named.
func (c *Cloud) knows(id string) bool {
	if c.unseen[id] == 0 {
		return true
	}
	c.unseen[id]--
	return false
}

func (f *Fault) answer(w http.ResponseWriter, call Call) {
	if f.Drop {
		cut(w)
		return
	}
	if call.Form != nil {
		xmlAnswer(w, f.Status, element("Response",
			element("Errors", element("Error", element("Code", text(f.Code)), element("Message", text(f.Message)))),
			element("RequestID", text("request"))))
		return
	}
	w.Header().Set("X-Amzn-Errortype", f.Code)
	answer(w, f.Status, map[string]string{"Message": f.Message})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

func refuse(w http.ResponseWriter, call Call, status int, code, format string, args ...any) {
	(&Fault{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}).answer(w, call)
}

// Parameter returns the value of an SSM parameter, or "".
func (c *Cloud) Parameter(region, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parameters[region+" "+name]
}

// SetParameter sets an SSM parameter.
func (c *Cloud) SetParameter(region, name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parameters[region+" "+name] = value
}

// ssm returns the operation of Systems Manager.
func (c *Cloud) ssm(op string, body []byte) operation {
	var in struct{ Name, Value, Target, SessionId, DocumentName string }
	return func(w http.ResponseWriter, call Call) {
		if err := json.Unmarshal(body, &in); err != nil {
			refuse(w, call, http.StatusBadRequest, "ValidationException", "%v", err)
			return
		}
		value, known := c.parameters[call.Region+" "+in.Name]
		i := c.instances[in.Target]
		switch {
		case op == "PutParameter" && in.Name != "":
			c.parameters[call.Region+" "+in.Name] = in.Value
			answer(w, http.StatusOK, map[string]any{"Version": 1})
		case op == "GetParameter" && known:
			answer(w, http.StatusOK, map[string]any{"Parameter": map[string]any{"Name": in.Name, "Value": value}})
		case op == "GetParameter":
			refuse(w, call, http.StatusBadRequest, "ParameterNotFound", "no such parameter")
		case op == "StartSession" && (i == nil || i.state != "running" || in.DocumentName != "AWS-StartSSHSession"):
			refuse(w, call, http.StatusBadRequest, "TargetNotConnected", "%s is not connected.", in.Target)
		case op == "StartSession":
			id := c.id("session")
			c.sessions[id] = in.Target
			answer(w, http.StatusOK, map[string]any{"SessionId": id, "StreamUrl": "wss://" + i.address, "TokenValue": "a secret token"})
		case op == "TerminateSession" && c.sessions[in.SessionId] != "":
			delete(c.sessions, in.SessionId)
			answer(w, http.StatusOK, map[string]any{"SessionId": in.SessionId})
		default:
			refuse(w, call, http.StatusBadRequest, "ValidationException", "%s: %s", op, body)
		}
	}
}

// Note counts a request of an operation that did not come.
func (c *Cloud) Note(op string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[op]++
}
