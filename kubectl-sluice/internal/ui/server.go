package ui

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

//go:embed assets
var assets embed.FS

const (
	// mostStreams is how many pages are served at once.
	mostStreams = 32
	// headerTime is how long a request's head may take.
	headerTime = 5 * time.Second
	// rowsEvery is how often rows are sent at most, detailEvery how often an object
	// is looked at, familiesEvery the families.
	rowsEvery     = 250 * time.Millisecond
	detailEvery   = 2 * time.Second
	familiesEvery = 5 * time.Second
	// beatEvery is how often a stream with nothing to say says so.
	beatEvery = 15 * time.Second
	// shutdownTime is how long requests have to end.
	shutdownTime = time.Second
)

// Server serves the page at one address of this machine, for whoever has its URL.
type Server struct {
	sources  Sources
	listener net.Listener
	token    string
	streams  chan struct{}
}

// Listen opens a port of this machine, any with 0.
func Listen(ctx context.Context, port int, sources Sources) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("--port: %w", err)
	}
	return &Server{sources: sources, listener: listener, token: rand.Text(), streams: make(chan struct{}, mostStreams)}, nil
}

// URL opens the page. Whoever has it reads what its owner may.
func (s *Server) URL() string {
	return "http://" + s.listener.Addr().String() + "/?token=" + s.token
}

// Serve serves until the context ends.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTime,
		// Streams end when the page is no longer served.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		err = server.Close() // whoever does not end is cut off
		<-ended              //nolint:errcheck // it says that it is closed
		return err
	}
	<-ended //nolint:errcheck // it says that it is closed
	return nil
}

func (s *Server) handler() http.Handler {
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // they are in the binary
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/rows", s.stream(s.rows))
	mux.HandleFunc("GET /api/object", s.stream(s.object))
	mux.HandleFunc("GET /api/families", s.stream(s.families))
	return s.guard(mux)
}

// guard lets in who has the token, at this machine, from this page.
func (s *Server) guard(next http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(s.listener.Addr().String()) // it is one
	cookie := "sluice-" + port
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		// Another name for this machine is one that somebody else has given it.
		if r.Host != "127.0.0.1:"+port && r.Host != "localhost:"+port {
			http.Error(w, "this page is at 127.0.0.1 alone", http.StatusMisdirectedRequest)
			return
		}
		if given := r.URL.Query().Get("token"); given != "" && s.is(given) {
			http.SetCookie(w, &http.Cookie{Name: cookie, Value: s.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // there is no TLS on loopback
			http.Redirect(w, r, "/", http.StatusSeeOther)
			return
		}
		if had, err := r.Cookie(cookie); err != nil || !s.is(had.Value) {
			http.Error(w, "open the address that kubectl sluice ui has printed", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) is(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// send sends an event of a stream.
type send func(event string, what any) error

// stream serves events until the page goes, or sending fails.
func (s *Server) stream(run func(ctx context.Context, query url.Values, to send) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
		default:
			http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		err := run(r.Context(), r.URL.Query(), func(event string, what any) error {
			text, err := json.Marshal(what)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text); err != nil {
				return err
			}
			return flush.Flush()
		})
		var bad badRequestError
		if errors.As(err, &bad) {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}
}

type badRequestError struct{ error }

// wait waits for a time, or for the end.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rows sends what changed, a few times a second.
func (s *Server) rows(ctx context.Context, _ url.Values, to send) error {
	version := uint64(0)
	for {
		changes, now, more := s.sources.Rows.Since(version)
		version = now
		if err := to("rows", changes); err != nil {
			return err
		}
		if err := wait(ctx, rowsEvery); err != nil {
			return err
		}
		beat := time.NewTimer(beatEvery)
		select {
		case <-more:
		case <-beat.C:
		case <-ctx.Done():
		}
		beat.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// object sends what is to be said of one, again and again.
func (s *Server) object(ctx context.Context, query url.Values, to send) error {
	of := why.Object{Kind: query.Get("kind"), Namespace: query.Get("namespace"), Name: query.Get("name")}
	if of.Kind != account.ScaledObject && of.Kind != account.ScaledJob || of.Namespace == "" || of.Name == "" {
		return badRequestError{errors.New("kind, namespace and name of a ScaledObject or ScaledJob are needed")}
	}
	key := strings.Join([]string{of.Kind, of.Namespace, of.Name}, "/")
	var after time.Time
	for {
		row, points, there := s.sources.Rows.Points(key, after)
		if len(points) > 0 {
			after = points[len(points)-1].Time
		}
		facts, err := s.sources.Object(ctx, of)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			err = to("trouble", err.Error())
		case !there:
			row = Row{Key: key}
			row.Kind, row.Namespace, row.Name, row.State = of.Kind, of.Namespace, of.Name, "unknown"
			fallthrough
		default:
			d := detail(facts)
			d.Row, d.Points = row, points
			err = to("object", d)
		}
		if err != nil {
			return err
		}
		if err := wait(ctx, detailEvery); err != nil {
			return err
		}
	}
}

// families sends what each instance tells, again and again.
func (s *Server) families(ctx context.Context, _ url.Values, to send) error {
	for {
		all, err := s.sources.Families(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			err = to("trouble", err.Error())
		default:
			err = to("families", all)
		}
		if err != nil {
			return err
		}
		if err := wait(ctx, familiesEvery); err != nil {
			return err
		}
	}
}
