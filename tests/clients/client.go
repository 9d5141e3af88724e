// SPDX-License-Identifier: Apache-2.0

// A client of the v1 API as orchestrators wrote them in Go: the standard library alone, mutual TLS, one kept
// connection. It knows itself by its address, takes any status below 300 for success, and decodes lists
// into structures, so one value of another type anywhere in a list is a failure of the whole. The
// commands are those of client.py beside it.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	pollInterval = 100 * time.Millisecond
	limit        = 120 * time.Second
)

var errGone = errors.New("not in the list")

type node struct {
	UUID string `json:"uuid"`
	Host string `json:"host"`
}

type metadata struct {
	Name string `json:"name,omitempty"`
}

type wish struct {
	Primary     string    `json:"primary"`
	DatasetID   string    `json:"dataset_id,omitempty"`
	MaximumSize int64     `json:"maximum_size,omitempty"`
	Metadata    *metadata `json:"metadata,omitempty"`
	Deleted     bool      `json:"deleted,omitempty"`
}

type state struct {
	DatasetID   string `json:"dataset_id"`
	Primary     string `json:"primary"`
	Path        string `json:"path"`
	MaximumSize int64  `json:"maximum_size"`
}

type lease struct {
	DatasetID string   `json:"dataset_id"`
	NodeUUID  string   `json:"node_uuid"`
	Expires   *float64 `json:"expires"`
}

type client struct {
	http *http.Client
	url  string
}

func newClient(host, port, ca, certificate, key string) (*client, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: roots}}
	return &client{&http.Client{Transport: transport, Timeout: 30 * time.Second},
		"https://" + host + ":" + port + "/v1/"}, nil
}

// call decodes the answer to body into value and returns its status.
func (c *client) call(method, path string, body, value interface{}) (int, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, c.url+path, content)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	if answer.StatusCode >= 300 {
		return answer.StatusCode, fmt.Errorf("%s %s: %d: %s", method, path, answer.StatusCode, text)
	}
	if err := json.Unmarshal(text, value); err != nil {
		return answer.StatusCode, fmt.Errorf("%s %s: %v in %s", method, path, err, text)
	}
	return answer.StatusCode, nil
}

func (c *client) node(address string) (string, error) {
	var nodes []node
	if _, err := c.call("GET", "state/nodes", nil, &nodes); err != nil {
		return "", err
	}
	for _, n := range nodes {
		if n.Host == address {
			return n.UUID, nil
		}
	}
	return "", fmt.Errorf("no node has the address %s: %v", address, nodes)
}

func (c *client) state(dataset string) (*state, error) {
	var states []state
	if _, err := c.call("GET", "state/datasets", nil, &states); err != nil {
		return nil, err
	}
	for i := range states {
		if states[i].DatasetID == dataset {
			return &states[i], nil
		}
	}
	return nil, errGone
}

// until asks again and again until condition has an answer or fails.
func until(what string, condition func() (bool, error)) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(pollInterval) {
		if done, err := condition(); done || err != nil {
			return err
		}
	}
	return fmt.Errorf("after %v still not %s", limit, what)
}

func (c *client) wait(dataset, address string) (string, error) {
	var path string
	primary, err := c.node(address)
	if err != nil {
		return "", err
	}
	err = until("mounted on "+address, func() (bool, error) {
		s, err := c.state(dataset)
		if err == errGone {
			return false, nil
		}
		if err != nil || s.Primary != primary {
			return false, err
		}
		path = s.Path
		return true, nil
	})
	return path, err
}

func (c *client) create(name, address, size string) (string, error) {
	var made wish
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return "", err
	}
	primary, err := c.node(address)
	if err != nil {
		return "", err
	}
	status, err := c.call("POST", "configuration/datasets",
		&wish{Primary: primary, MaximumSize: bytes, Metadata: &metadata{name}}, &made)
	if err != nil {
		return "", err
	}
	if status != http.StatusCreated || made.MaximumSize != bytes {
		return "", fmt.Errorf("created with %d: %v", status, made)
	}
	// The list of all must decode, and have it by its name.
	var all []wish
	if _, err := c.call("GET", "configuration/datasets", nil, &all); err != nil {
		return "", err
	}
	for _, w := range all {
		if w.Metadata != nil && w.Metadata.Name == name && !w.Deleted {
			_, err = c.wait(w.DatasetID, address)
			return w.DatasetID, err
		}
	}
	return "", fmt.Errorf("no dataset is named %s: %v", name, all)
}

func (c *client) update(dataset, address string) error {
	var answer wish
	primary, err := c.node(address)
	if err != nil {
		return err
	}
	_, err = c.call("POST", "configuration/datasets/"+dataset, &wish{Primary: primary}, &answer)
	if err == nil && answer.Primary != primary {
		err = fmt.Errorf("something else was recorded: %v", answer)
	}
	return err
}

func (c *client) acquire(dataset, address, seconds string) (string, error) {
	var answer lease
	asked := lease{DatasetID: dataset}
	if seconds != "-" {
		s, err := strconv.ParseFloat(seconds, 64)
		if err != nil {
			return "", err
		}
		asked.Expires = &s
	}
	var err error
	if asked.NodeUUID, err = c.node(address); err != nil {
		return "", err
	}
	status, err := c.call("POST", "configuration/leases", &asked, &answer)
	if err != nil {
		return "", err
	}
	if (asked.Expires == nil) != (answer.Expires == nil) || answer.NodeUUID != asked.NodeUUID {
		return "", fmt.Errorf("something else was leased: %v", answer)
	}
	if status == http.StatusCreated {
		return "acquired", nil
	}
	return "renewed", nil
}

func (c *client) leases() (string, error) {
	var all []lease
	var text bytes.Buffer
	_, err := c.call("GET", "configuration/leases", nil, &all)
	for _, l := range all {
		fmt.Fprintln(&text, l.DatasetID, l.NodeUUID)
	}
	return text.String(), err
}

func (c *client) remove(dataset string) error {
	var answer wish
	if _, err := c.call("DELETE", "configuration/datasets/"+dataset, nil, &answer); err != nil {
		return err
	}
	return until("gone", func() (bool, error) {
		_, err := c.state(dataset)
		if err == errGone {
			return true, nil
		}
		return false, err
	})
}

func (c *client) run(args []string) (string, error) {
	switch command := fmt.Sprint(args[0], " ", len(args)-1); command {
	case "create 3":
		return c.create(args[1], args[2], args[3])
	case "update 2":
		return "", c.update(args[1], args[2])
	case "wait 2":
		return c.wait(args[1], args[2])
	case "acquire 3":
		return c.acquire(args[1], args[2], args[3])
	case "release 1":
		_, err := c.call("DELETE", "configuration/leases/"+args[1], nil, &lease{})
		return "", err
	case "leases 0":
		return c.leases()
	case "delete 1":
		return "", c.remove(args[1])
	default:
		return "", fmt.Errorf("there is no command with arguments as %s", command)
	}
}

func main() {
	if len(os.Args) < 7 {
		fmt.Fprintln(os.Stderr, "client HOST PORT CA CERTIFICATE KEY COMMAND ARGUMENT...")
		os.Exit(2)
	}
	result := ""
	c, err := newClient(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	if err == nil {
		result, err = c.run(os.Args[6:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
	if result != "" {
		fmt.Println(result)
	}
}
