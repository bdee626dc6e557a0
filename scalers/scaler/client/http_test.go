package client

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/metrics"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// httpClient returns a client as HTTP would, with a transport that ends with
// the test.
func httpClient(t *testing.T, o HTTPOptions) *HTTPClient {
	t.Helper()
	process := httpProcess{timeout: 10 * time.Second}
	config, err := o.TLS.Config(o.UnsafeSSL)
	if err != nil {
		t.Fatal(err)
	}
	pool := newTransport(new(Dialer).DialResolved, config, process)
	t.Cleanup(func() { _ = pool.Close() })
	return newHTTPClient(pool.Transport, process, o)
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestRequestsOfReadsAreCounted(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	client, m := httpClient(t, HTTPOptions{}), metrics.New("web")
	reading := m.Counting(t.Context(), "metrics-api")
	for _, ask := range []struct {
		ctx     context.Context
		address string
	}{
		{reading, server.URL}, {reading, server.URL + "/bad"}, {reading, "http://127.0.0.1:1"}, {t.Context(), server.URL},
	} {
		_, _ = client.Get(ask.ctx, ask.address) // what is counted tells how it went
	}
	want := `
# HELP keda_scaler_http_requests_total HTTP requests made while a metric was read, by trigger type.
# TYPE keda_scaler_http_requests_total counter
keda_scaler_http_requests_total{scaler="metrics-api",status_code="200"} 1
keda_scaler_http_requests_total{scaler="metrics-api",status_code="418"} 1
keda_scaler_http_requests_total{scaler="metrics-api",status_code="error"} 1
`
	if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "keda_scaler_http_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(m.Registry, "keda_scaler_http_request_duration_seconds"); n != 3 {
		t.Errorf("%d histograms, %v", n, err)
	}
}

func TestHTTPAnswers(t *testing.T) {
	tests := map[int]codes.Code{
		200: codes.OK, 204: codes.OK,
		304: codes.FailedPrecondition, 400: codes.FailedPrecondition,
		401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound,
		408: codes.DeadlineExceeded, 429: codes.Unavailable, 500: codes.Unavailable, 504: codes.DeadlineExceeded,
	}
	for answer, want := range tests {
		t.Run(fmt.Sprint(answer), func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(answer)
				if answer >= 400 {
					fmt.Fprint(w, "hunter2 is wrong")
				}
			})
			address := strings.Replace(server.URL, "//", "//me:hunter2@", 1) + "/path?key=hunter2"
			_, err := httpClient(t, HTTPOptions{}).Get(t.Context(), address)
			if status.Code(err) != want {
				t.Fatalf("error = %v, want %v", err, want)
			}
			if message := fmt.Sprintf("GET %s/path: %d %s", server.URL, answer, http.StatusText(answer)); err != nil && err.Error() != message {
				t.Errorf("message = %s, want %s", err, message)
			}
		})
	}
}

func TestHTTPServersThatDoNotAnswer(t *testing.T) {
	t.Run("none is there", func(t *testing.T) {
		gone := httptest.NewServer(http.NotFoundHandler())
		address := gone.Listener.Addr().String()
		gone.Close()
		_, err := httpClient(t, HTTPOptions{}).Get(t.Context(), "http://me:hunter2@"+address+"/?key=hunter2")
		if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error = %v, want Unavailable without secrets", err)
		}
	})
	hang := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	t.Run("it is silent", func(t *testing.T) {
		_, err := httpClient(t, HTTPOptions{Timeout: time.Millisecond}).Get(t.Context(), hang.URL)
		want := "GET " + hang.URL + ": no answer in time"
		if status.Code(err) != codes.DeadlineExceeded || status.Convert(err).Message() != want {
			t.Errorf("error = %v, want DeadlineExceeded %s", err, want)
		}
	})
	t.Run("the caller left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := httpClient(t, HTTPOptions{}).Get(ctx, hang.URL); status.Code(err) != codes.Canceled {
			t.Errorf("error = %v, want Canceled", err)
		}
	})
	t.Run("its certificate is unknown", func(t *testing.T) {
		server := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		server.Config.ErrorLog = nil
		if _, err := httpClient(t, HTTPOptions{}).Get(t.Context(), server.URL); status.Code(err) != codes.Unavailable {
			t.Errorf("error = %v, want Unavailable", err)
		}
	})
	t.Run("the address is none", func(t *testing.T) {
		_, err := httpClient(t, HTTPOptions{}).Get(t.Context(), "http://me:hunter2@%zz")
		if status.Code(err) != codes.InvalidArgument || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error = %v, want InvalidArgument without secrets", err)
		}
	})
}

func TestHTTPAnswersAreBounded(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "12345") })
	if body, err := httpClient(t, HTTPOptions{MaxAnswer: 5}).Get(t.Context(), server.URL); string(body) != "12345" {
		t.Errorf("body = %q, %v, want all of it", body, err)
	}
	if body, err := httpClient(t, HTTPOptions{MaxAnswer: 4}).Get(t.Context(), server.URL); err == nil {
		t.Errorf("body = %q, want an error", body)
	}
}

// bearer adds a fixed token.
func bearer(r *http.Request) error {
	r.Header.Set("Authorization", "Bearer hunter2")
	return nil
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	seen := make(chan http.Header, 1)
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })
	var target string
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/here" {
			seen <- r.Header
			return
		}
		http.Redirect(w, r, target, http.StatusTemporaryRedirect)
	})
	get := func(t *testing.T, to string, o HTTPOptions) (http.Header, error) {
		target = to
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Own", "hunter2")
		request.Header.Set("Accept", "text/plain")
		if _, err = httpClient(t, o).Do(request); err != nil {
			return nil, err
		}
		return <-seen, nil
	}
	t.Run("the same host gets them", func(t *testing.T) {
		header, err := get(t, "/here", HTTPOptions{Authorize: bearer})
		if err != nil || header.Get("Authorization") != "Bearer hunter2" || header.Get("X-Own") != "hunter2" {
			t.Errorf("header = %v, %v, want the credentials", header, err)
		}
	})
	t.Run("another port does not", func(t *testing.T) {
		header, err := get(t, elsewhere.URL, HTTPOptions{Authorize: bearer})
		if err != nil || header.Get("Accept") != "text/plain" || strings.Contains(fmt.Sprint(header), "hunter2") {
			t.Errorf("header = %v, %v, want no credentials", header, err)
		}
	})
	t.Run("a client certificate is not shown to another host", func(t *testing.T) {
		cert, key := keyPair(t)
		o := HTTPOptions{TLS: TLSParams{Cert: cert, Key: key}}
		if header, err := get(t, elsewhere.URL, o); err == nil {
			t.Errorf("header = %v, want an error", header)
		}
	})
}

func TestNoRedirectFromHTTPSToHTTP(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	server := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	_, err := httpClient(t, HTTPOptions{TLS: TLSParams{CA: string(ca)}}).Get(t.Context(), server.URL)
	if err == nil || !strings.Contains(err.Error(), "redirected from https to http") {
		t.Errorf("error = %v, want a refused redirect", err)
	}
}

func TestAuthModes(t *testing.T) {
	tests := map[string]struct {
		params HTTPAuthParams
		want   map[string]string // headers, and the query as "?"
		err    string
	}{
		"none: what is given is not used": {
			params: HTTPAuthParams{BearerToken: "t", Username: "u", APIKey: "k"},
			want:   map[string]string{"Authorization": "", "X-Api-Key": ""},
		},
		"basic without a password": {
			params: HTTPAuthParams{AuthModes: []string{"basic"}, Username: "u"},
			want:   map[string]string{"Authorization": "Basic dTo="},
		},
		"bearer and custom": {
			params: HTTPAuthParams{AuthModes: []string{"bearer", "custom"}, BearerToken: "t", CustomAuthHeader: "X-Org", CustomAuthValue: "7"},
			want:   map[string]string{"Authorization": "Bearer t", "X-Org": "7"},
		},
		"key in a header": {
			params: HTTPAuthParams{AuthModes: []string{"apiKey"}, APIKey: "k", Method: "header"},
			want:   map[string]string{"X-Api-Key": "k", "?": "a=1"},
		},
		"key in the query": {
			params: HTTPAuthParams{AuthModes: []string{"apiKey"}, APIKey: "k&", Method: "query"},
			want:   map[string]string{"?": "a=1&api_key=k%26"},
		},
		"key under a name": {
			params: HTTPAuthParams{AuthModes: []string{"apiKey"}, APIKey: "k", Method: "query", KeyParamName: "key"},
			want:   map[string]string{"?": "a=1&key=k"},
		},
		"tls with half a pair": {
			params: HTTPAuthParams{AuthModes: []string{"tls"}, Cert: "hunter2"},
			err:    "authModes: tls needs cert and key: cert is <present>, key is <empty>",
		},
		"oauth and custom with nothing": {
			params: HTTPAuthParams{AuthModes: []string{"oauth", "custom"}},
			err: "authModes: oauth needs oauthTokenURI and clientID: oauthTokenURI is <empty>, clientID is <empty>\n" +
				"authModes: custom needs customAuthHeader and customAuthValue: customAuthHeader is <empty>, customAuthValue is <empty>",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := tt.params.Validate(); err != nil || tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("error = %v, want %s", err, tt.err)
				}
				return
			}
			seen := make(chan *http.Request, 1)
			server := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
			if _, err := httpClient(t, HTTPOptions{Authorize: tt.params.Authorize(nil)}).Get(t.Context(), server.URL+"/?a=1"); err != nil {
				t.Fatal(err)
			}
			request := <-seen
			for key, want := range tt.want {
				got := request.Header.Get(key)
				if key == "?" {
					got = request.URL.RawQuery
				}
				if got != want {
					t.Errorf("%s = %q, want %q", key, got, want)
				}
			}
		})
	}
}

func TestTokensAreFetchedOnceAndKept(t *testing.T) {
	fetches := 0
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/token" {
			fmt.Fprint(w, r.Header.Get("Authorization"))
			return
		}
		fetches++
		_ = r.ParseForm()
		if got := r.Form.Encode(); got != "audience=api&grant_type=client_credentials&scope=read+write" {
			t.Errorf("token request = %s", got)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"t","token_type":"bearer","expires_in":3600}`)
	})
	p := OAuthParams{
		OAuthTokenURI: server.URL + "/token", ClientID: "id", ClientSecret: "hunter2",
		Scopes: []string{"read", "", "write"}, EndpointParams: url.Values{"audience": {"api"}},
	}
	plain := httpClient(t, HTTPOptions{})
	client := httpClient(t, HTTPOptions{Authorize: p.Authorize(plain)})
	for range 3 {
		if body, err := client.Get(t.Context(), server.URL); err != nil || string(body) != "Bearer t" {
			t.Fatalf("authorization = %s, %v, want Bearer t", body, err)
		}
	}
	for range 3 { // whoever refuses tokens does not have the token endpoint asked for others
		if _, err := client.Get(t.Context(), server.URL+"/refuse"); status.Code(err) != codes.Unauthenticated {
			t.Errorf("error = %v", err)
		}
	}
	if fetches != 1 {
		t.Errorf("%d tokens were fetched, want 1", fetches)
	}
}

func TestTokenEndpointsThatRefuse(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		code   codes.Code
		text   string
	}{
		"a wrong secret": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(w, "hunter2 is wrong")
			},
			code: codes.Unauthenticated, text: "401 Unauthorized",
		},
		"invalid_client": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"invalid_client","error_description":"hunter2"}`)
			},
			code: codes.Unauthenticated, text: "400 Bad Request",
		},
		"a fault of its own": {
			answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			code:   codes.Unavailable, text: "500 Internal Server Error",
		},
		"no token": {
			answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hunter2") },
			code:   codes.Unavailable, text: "the answer cannot be understood",
		},
		"a redirect": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
			},
			code: codes.Unavailable, text: "the token endpoint redirects",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := serve(t, tt.answer)
			p := OAuthParams{OAuthTokenURI: server.URL, ClientID: "id", ClientSecret: "hunter2"}
			_, err := httpClient(t, HTTPOptions{Authorize: p.Authorize(httpClient(t, HTTPOptions{}))}).Get(t.Context(), server.URL+"/api")
			if status.Code(err) != tt.code || !strings.Contains(err.Error(), "token endpoint "+server.URL+": "+tt.text) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error = %v, want %v %s", err, tt.code, tt.text)
			}
		})
	}
}

func TestProcessHTTP(t *testing.T) {
	tests := map[string]struct {
		env  map[string]string
		want httpProcess
		err  string
	}{
		"three seconds by default": {nil, httpProcess{timeout: 3 * time.Second}, ""},
		"milliseconds":             {map[string]string{"KEDA_HTTP_DEFAULT_TIMEOUT": "1500"}, httpProcess{timeout: 1500 * time.Millisecond}, ""},
		"zero is short":            {map[string]string{"KEDA_HTTP_DEFAULT_TIMEOUT": "0"}, httpProcess{timeout: 300 * time.Millisecond}, ""},
		"no keep-alive":            {map[string]string{"KEDA_HTTP_DISABLE_KEEP_ALIVE": "true"}, httpProcess{timeout: 3 * time.Second, noKeepAlive: true}, ""},
		"no number":                {map[string]string{"KEDA_HTTP_DEFAULT_TIMEOUT": "3s"}, httpProcess{timeout: 3 * time.Second}, `KEDA_HTTP_DEFAULT_TIMEOUT: "3s" is not a number of milliseconds`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := processHTTP(func(key string) string { return tt.env[key] })
			if got != tt.want || err != nil && err.Error() != tt.err || err == nil && tt.err != "" {
				t.Errorf("process = %+v, %v, want %+v, %s", got, err, tt.want, tt.err)
			}
		})
	}
}

// TestNotFound: only the server that was asked can say that something is not there.
func TestNotFound(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"by the server":       {fmt.Errorf("bucket: %w", &HTTPError{Request: "GET https://example.com", Status: http.StatusNotFound}), true},
		"refused":             {&HTTPError{Status: http.StatusForbidden}, false},
		"by who gives tokens": {status.Error(codes.NotFound, "no such endpoint"), false},
		"nothing":             {nil, false},
	} {
		if got := NotFound(tt.err); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
