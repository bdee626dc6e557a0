package scaler

import (
	"errors"
	"net/http"
	"net/url"
)

// authorized adds credentials to requests on their way out, so that no
// redirect, log or error ever sees them in a request of ours.
type authorized struct {
	base      http.RoundTripper
	authorize func(*http.Request) error // nil for none
}

// RoundTrip leaves the caller's request as it is, as net/http demands.
func (a authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	if a.authorize != nil && belongs(first(request).URL, request.URL) {
		request = request.Clone(request.Context())
		if err := a.authorize(request); err != nil {
			closeBody(request)
			return nil, err
		}
	}
	return a.base.RoundTrip(request)
}

// guarded refuses hosts that must not be asked, each time one is: after a
// redirect, too, and where a proxy connects.
type guarded struct {
	base   http.RoundTripper
	dialer *Dialer
}

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := g.dialer.Check(request.URL.Hostname()); err != nil {
		closeBody(request)
		return nil, err
	}
	return g.base.RoundTrip(request)
}

func closeBody(request *http.Request) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
}

// first returns the request that redirects began with.
func first(request *http.Request) *http.Request {
	for request.Response != nil && request.Response.Request != nil {
		request = request.Response.Request
	}
	return request
}

// belongs reports whether credentials meant for one address may be sent to
// another: to the same host and port, or from http to https of the same host.
func belongs(meant, to *url.URL) bool {
	if meant.Scheme == to.Scheme {
		return meant.Host == to.Host
	}
	return meant.Scheme == "http" && to.Scheme == "https" && meant.Hostname() == to.Hostname()
}

// redirect follows up to ten redirects, never from https to http. Towards a
// host that the credentials are not for, the request goes bare; with a client
// certificate it does not go at all, since the certificate would go with it.
func redirect(certificate bool) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, before []*http.Request) error {
		last, original := before[len(before)-1].URL, before[0].URL
		switch {
		case len(before) >= 10:
			return errors.New("redirected ten times")
		case last.Scheme == "https" && next.URL.Scheme != "https":
			return errors.New("redirected from https to http")
		case belongs(original, next.URL):
			return nil
		case certificate:
			return errors.New("redirected to another host, which the client certificate is not for")
		}
		for name := range next.Header {
			if !bare[name] {
				delete(next.Header, name)
			}
		}
		next.URL.User = nil
		return nil
	}
}

// bare are the headers that say nothing about who asks.
var bare = map[string]bool{"Accept": true, "Content-Type": true, "User-Agent": true}
