package localcluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Request is one entry of the audit log: what the API server was asked, by
// whom and from where. It has no bodies.
type Request struct {
	User struct {
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
	} `json:"user"`
	Verb      string   `json:"verb"`
	URI       string   `json:"requestURI"`
	UserAgent string   `json:"userAgent"`
	SourceIPs []string `json:"sourceIPs"`
	Object    struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		APIGroup    string `json:"apiGroup"`
	} `json:"objectRef"`
	Response struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	// Stage is ResponseStarted for a watch that goes on, ResponseComplete for
	// everything that has ended.
	Stage    string    `json:"stage"`
	Received time.Time `json:"requestReceivedTimestamp"`
	Answered time.Time `json:"stageTimestamp"`
}

// Write tells whether the request asked for a change.
func (r *Request) Write() bool {
	return !slices.Contains([]string{"get", "list", "watch"}, r.Verb)
}

// Audit returns the requests for which keep is true, in the order in which
// they were answered; keep nil means all. What is being answered right now may
// be missing.
func (c *Cluster) Audit(keep func(*Request) bool) ([]Request, error) {
	return c.AuditAbout("", keep)
}

// AuditAbout is Audit of the requests in which a text occurs, such as the name
// of a namespace: cheap enough to be asked again and again.
func (c *Cluster) AuditAbout(text string, keep func(*Request) bool) ([]Request, error) {
	if c.options.NoAudit {
		return nil, errors.New("the cluster keeps no audit log")
	}
	file, err := os.Open(c.dir.join("logs", "audit.log"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []Request
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 4<<20)
	for line := 1; scanner.Scan(); line++ {
		if !bytes.Contains(scanner.Bytes(), []byte(text)) {
			continue
		}
		var request Request
		if err := json.Unmarshal(bytes.TrimSpace(scanner.Bytes()), &request); err != nil {
			return nil, fmt.Errorf("audit log, line %d: %w", line, err)
		}
		if keep == nil || keep(&request) {
			found = append(found, request)
		}
	}
	return found, scanner.Err()
}

// CheckIdentities proves from the audit log that every request of an instance,
// told by its address, that was let in was made with the token of its own
// ServiceAccount. The error names the others. It also returns how many requests each user made, so
// that a test can see that there was something to check.
func (c *Cluster) CheckIdentities() (requests map[string]int, err error) {
	if !c.Isolated() {
		return nil, errors.New("instances have no addresses of their own to be told by")
	}
	owner := map[string][]string{} // address -> users; an address may be reused
	for _, instance := range c.kubelet.everyone() {
		if address := instance.Address(); address != "" {
			owner[address] = append(owner[address], instance.User())
		}
	}
	all, err := c.Audit(func(r *Request) bool { return len(r.SourceIPs) > 0 && owner[r.SourceIPs[0]] != nil })
	if err != nil {
		return nil, err
	}
	requests = map[string]int{}
	var strangers []error
	for _, r := range all {
		if r.User.Username == "" && (r.Response.Code == 0 || r.Response.Code >= 400) {
			continue // not let in, as when the API server stalls before it knows who asks
		}
		requests[r.User.Username]++
		if users := owner[r.SourceIPs[0]]; !slices.Contains(users, r.User.Username) {
			strangers = append(strangers, fmt.Errorf("%s (%s) asked as %s: %s %s", r.SourceIPs[0], users[0], r.User.Username, r.Verb, r.URI))
		}
	}
	return requests, errors.Join(strangers...)
}
