package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
)

// Values of protocol. auto follows the scheme of host.
const (
	protocolAuto = "auto"
	protocolAMQP = "amqp"
	protocolHTTP = "http"
)

// hostParams say where the broker is.
type hostParams struct {
	// Host is the address of the broker with user and password:
	// amqp(s)://user:password@host:port/vhost, or, for the management API,
	// http(s)://user:password@host:port/path/vhost. Characters that mean
	// something in a URL are percent-encoded.
	Host string `param:"host,required" from:"trigger,auth,env" secret:"true"`
	// Protocol is how to ask. auto follows the scheme of host.
	Protocol string `param:"protocol" from:"trigger,auth" default:"auto" enum:"auto,amqp,http"`
	// VhostName is used instead of the vhost in host.
	VhostName string `param:"vhostName" from:"trigger,auth"`
}

// endpoint is a host taken apart.
type endpoint struct {
	scheme string // amqp, amqps, http or https
	host   string // host:port; a port is always there for AMQP
	base   string // what comes before /api, still escaped; HTTP only
	vhost  string // not escaped

	username, password string
	hasPassword        bool // host holds one, even if it is empty
	serverName         string
}

// Errors of host never show any of it: it holds a password, and where a
// character of that is not encoded, any part of the URL may be one.
var (
	errHostMalformed = errors.New("host: is not a URL; are reserved characters in user and password percent-encoded?")
	errHostScheme    = errors.New("host: begins with none of amqp://, amqps://, http://, https://")
	errHostEmpty     = errors.New("host: names no host")
)

// protocolOf are the schemes of host.
var protocolOf = map[string]string{
	"amqp": protocolAMQP, "amqps": protocolAMQP,
	"http": protocolHTTP, "https": protocolHTTP,
}

// defaultPorts are those of AMQP. net/http knows its own.
var defaultPorts = map[string]string{"amqp": "5672", "amqps": "5671"}

// endpoint takes host apart. Parts of it that AMQP clients read from its query
// are ignored, except server_name_indication: some name files.
func (p hostParams) endpoint() (endpoint, error) {
	u, err := url.Parse(p.Host)
	if err != nil {
		return endpoint{}, errHostMalformed
	}
	protocol, known := protocolOf[u.Scheme]
	switch {
	case !known:
		return endpoint{}, errHostScheme
	case p.Protocol != protocolAuto && p.Protocol != protocol:
		return endpoint{}, fmt.Errorf("host: does not begin with %s:// or %[1]ss://, as protocol %[1]s demands", p.Protocol)
	case protocol == protocolHTTP && u.Hostname() == "":
		return endpoint{}, errHostEmpty
	}
	e := endpoint{scheme: u.Scheme, host: u.Host}
	e.username = u.User.Username()
	e.password, e.hasPassword = u.User.Password()
	if protocol == protocolAMQP {
		e.readAMQP(u)
	} else {
		e.readHTTP(u)
	}
	if p.VhostName != "" {
		e.vhost = decoded(p.VhostName)
	}
	return e, nil
}

// readAMQP fills in what AMQP addresses leave out.
//
// Source: https://www.rabbitmq.com/docs/uri-spec
func (e *endpoint) readAMQP(u *url.URL) {
	e.host = net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), defaultPorts[u.Scheme]))
	e.vhost = cmp.Or(strings.TrimPrefix(u.Path, "/"), "/")
	e.serverName = cmp.Or(u.Query().Get("server_name_indication"), cmp.Or(u.Hostname(), "localhost"))
	if u.User == nil {
		e.username, e.password = "guest", "guest"
	}
}

// readHTTP splits the path: its last segment is the vhost, what comes before
// leads to the API. So a trailing slash makes the vhost the default one. Doubled
// slashes count as one.
func (e *endpoint) readHTTP(u *url.URL) {
	path := u.EscapedPath()
	cut := strings.LastIndexByte(path, '/')
	if cut >= 0 {
		e.base = strings.TrimSuffix(slashes.ReplaceAllString(path[:cut], "/"), "/")
	}
	e.vhost = cmp.Or(decoded(path[cut+1:]), "/")
}

var slashes = regexp.MustCompile("/{2,}")

// decoded undoes percent-encoding, once. A text without it, or with a stray
// percent sign, is meant as it reads.
func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// segment escapes a name for one segment of a path. Beside what the standard
// library escapes there it escapes "+", which some proxies take for a space.
func segment(name string) string {
	return strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
}

// tls reports whether connections to the endpoint are encrypted.
func (e endpoint) tls() bool { return e.scheme == "amqps" || e.scheme == "https" }

// protocol is protocolAMQP or protocolHTTP.
func (e endpoint) protocol() string { return protocolOf[e.scheme] }
