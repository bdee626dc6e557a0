package outbound

import (
	"net/http"
	"net/url"
)

// Stay follows no redirect: the request has something with it that is for
// nobody else. The answer is the redirect's.
func Stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Follow follows up to ten redirects, never from https to http. Towards a host
// that the credentials are not for, the request goes bare; with a client
// certificate it does not go at all, since the certificate would go with it.
func Follow(certificate bool) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, before []*http.Request) error {
		last, original := before[len(before)-1].URL, before[0].URL
		switch {
		case len(before) >= 10:
			return RedirectError("redirected ten times")
		case next.URL.Scheme != "http" && next.URL.Scheme != "https":
			return RedirectError("redirected to what is no HTTP server")
		case last.Scheme == "https" && next.URL.Scheme != "https":
			return RedirectError("redirected from https to http")
		case belongs(original, next.URL):
			return nil
		case certificate:
			return RedirectError("redirected to another host, which the client certificate is not for")
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

// RedirectError says why a redirect is not followed.
type RedirectError string

func (r RedirectError) Error() string { return string(r) }

// Authorize adds credentials to requests on their way out, so that no redirect,
// log or error ever sees them in a request of ours. authorize is nil for none.
func Authorize(base http.RoundTripper, authorize func(*http.Request) error) http.RoundTripper {
	if authorize == nil {
		return base
	}
	return authorized{base, authorize}
}

type authorized struct {
	base      http.RoundTripper
	authorize func(*http.Request) error
}

// RoundTrip leaves the caller's request as it is, as net/http demands.
func (a authorized) RoundTrip(request *http.Request) (*http.Response, error) {
	if belongs(first(request).URL, request.URL) {
		request = request.Clone(request.Context())
		if err := a.authorize(request); err != nil {
			closeBody(request)
			return nil, err
		}
	}
	return a.base.RoundTrip(request)
}

// Guard refuses requests that must not be made, each time one is: after a
// redirect, too, and where a proxy connects.
func Guard(base http.RoundTripper, check func(*http.Request) error) http.RoundTripper {
	return guarded{base, check}
}

type guarded struct {
	base  http.RoundTripper
	check func(*http.Request) error
}

// CheckRequest is CheckHost for the host that a request is sent to.
func CheckRequest(request *http.Request) error { return CheckHost(request.URL.Hostname()) }

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := g.check(request); err != nil {
		closeBody(request)
		return nil, err
	}
	return g.base.RoundTrip(request)
}

// CloseIdleConnections is what http.Client's asks of a transport.
func (a authorized) CloseIdleConnections() { closeIdle(a.base) }

// CloseIdleConnections is what http.Client's asks of a transport.
func (g guarded) CloseIdleConnections() { closeIdle(g.base) }

func closeIdle(base http.RoundTripper) {
	if pool, ok := base.(interface{ CloseIdleConnections() }); ok {
		pool.CloseIdleConnections()
	}
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
