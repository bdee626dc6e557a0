// Package outbound may do it all.
package outbound

import (
	"net"
	"net/http"
)

var dialer net.Dialer

var client = http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
