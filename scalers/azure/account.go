package main

import (
	"net"
	"net/url"
	"strings"
)

// askedAt is where a URL is asked: the server that counts, however its name is spelt
// and whatever path behind it. Another scheme or port may be somebody else.
func askedAt(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	if port == "443" && u.Scheme == "https" || port == "80" && u.Scheme == "http" {
		port = u.Scheme
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
}
