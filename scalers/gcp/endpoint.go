package main

import (
	"errors"
	"flag"
	"net"
	"net/url"
)

// endpoint is where a service answers. Objects have no say in it.
type endpoint struct {
	host, port string
	plain      bool   // without TLS
	flag       string // the one that moves it
}

// The services. Google's own addresses are right nearly everywhere: private access
// keeps the names and changes what they resolve to.
var (
	monitoringAt = endpoint{host: "monitoring.googleapis.com", port: "443", flag: "--monitoring-endpoint"}
	spannerAt    = endpoint{host: "spanner.googleapis.com", port: "443", flag: "--spanner-endpoint"}
	storageAt    = endpoint{host: "storage.googleapis.com", port: "443", flag: "--storage-endpoint"}
)

// endpointFlags adds the flags on where services answer.
func endpointFlags(flags *flag.FlagSet) {
	flags.Func("monitoring-endpoint", "where Cloud Monitoring is asked over gRPC, such as https://monitoring-shop.p.googleapis.com (default https://monitoring.googleapis.com)", monitoringAt.set)
	flags.Func("spanner-endpoint", "where Cloud Spanner is asked over gRPC (default https://spanner.googleapis.com)", spannerAt.set)
	flags.Func("storage-endpoint", "where Cloud Storage is asked (default https://storage.googleapis.com)", storageAt.set)
}

// set reads a URL without a path.
func (e *endpoint) set(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.User != nil || u.RawQuery != "" {
		return errors.New("is not https://<host> or http://<host>, with a port or without")
	}
	switch u.Scheme {
	case "https":
		e.plain, e.port = false, "443"
	case "http":
		e.plain, e.port = true, "80"
	default:
		return errors.New("begins neither with https:// nor with http://")
	}
	e.host = u.Hostname()
	if port := u.Port(); port != "" {
		e.port = port
	}
	return nil
}

// url is the address without a path.
func (e endpoint) url() string {
	scheme := "https"
	if e.plain {
		scheme = "http"
	}
	return scheme + "://" + net.JoinHostPort(e.host, e.port)
}
