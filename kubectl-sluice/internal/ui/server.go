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

	"golang.org/x/net/netutil"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

//go:embed assets
var assets embed.FS

const (
	// mostStreams is how many streams are served at once, of which a page that is
	// seen has two; mostConnections how many connections there are.
	mostStreams     = 32
	mostConnections = 128
	// headerTime is how long a request's head may take, writeTime how long whoever
	// asks may take to read what is sent, readTime what is asked of a cluster.
	headerTime = 5 * time.Second
	writeTime  = 10 * time.Second
	readTime   = 20 * time.Second
	// idleTime is how long a connection is kept that nobody uses, mostHeader how
	// much a request's head may have, in bytes.
	idleTime   = 30 * time.Second
	mostHeader = 16 << 10
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
	patience time.Duration // writeTime
}

// Listen opens a port of this machine, any with 0.
func Listen(ctx context.Context, port int, sources Sources) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("--port: %w", err)
	}
	return &Server{sources: sources, listener: listener, token: rand.Text(), streams: make(chan struct{}, mostStreams), patience: writeTime}, nil
}

// URL opens the page. Whoever has it reads what its owner may. A browser sends no
// server what is after #.
func (s *Server) URL() string {
	return s.origin() + "/#token=" + s.token
}

func (s *Server) origin() string { return "http://" + s.listener.Addr().String() }

// Serve serves until the context ends.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTime, WriteTimeout: s.patience, IdleTimeout: idleTime, MaxHeaderBytes: mostHeader,
		// Streams end when the page is no longer served.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(s.listener, mostConnections)) }()
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
	mux.Handle("GET /api/rows", s.owner(s.stream(s.rows)))
	mux.Handle("GET /api/object", s.owner(s.stream(s.object)))
	mux.Handle("GET /api/families", s.owner(s.stream(s.families)))
	return s.guard(mux)
}

// guard lets in who is at this machine, from this page: what it serves without a
// token says nothing of a cluster.
func (s *Server) guard(next http.Handler) http.Handler {
	host := s.listener.Addr().String()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		// Another name for this machine is one that somebody else has given it.
		if r.Host != host {
			http.Error(w, "this page is at "+host+" alone", http.StatusMisdirectedRequest)
			return
		}
		// A link may lead here; nothing of another page does more.
		origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
		foreign := site != "" && site != "same-origin" && site != "none" && r.Header.Get("Sec-Fetch-Mode") != "navigate"
		if foreign || origin != "" && origin != s.origin() {
			http.Error(w, "this page answers no other", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// owner lets in who has the token. It is in a header, and no cookie: a browser sends
// those to whoever else listens at this machine.
func (s *Server) owner(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if given, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !is || !s.is(given) {
			http.Error(w, "open the address that kubectl sluice ui has printed", http.StatusUnauthorized)
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

// event is a line of a stream.
type event struct {
	Event string `json:"event"`
	Data  any    `json:"data"`
}

// stream serves events until the page goes, or does not read what is sent.
func (s *Server) stream(run func(ctx context.Context, query url.Values, to send) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
		default:
			http.Error(w, "too many pages are open: close some", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		control := http.NewResponseController(w)
		err := run(r.Context(), r.URL.Query(), func(name string, what any) error {
			text, err := json.Marshal(event{name, what})
			if err != nil {
				return err
			}
			if err := control.SetWriteDeadline(time.Now().Add(s.patience)); err != nil {
				return err
			}
			if _, err := w.Write(append(text, '\n')); err != nil {
				return err
			}
			return control.Flush()
		})
		var bad badRequestError
		if errors.As(err, &bad) {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
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
		reading, cancel := context.WithTimeout(ctx, readTime)
		facts, err := s.sources.Object(reading, of)
		cancel()
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
			if len(points) > 0 {
				after = points[len(points)-1].Time
			}
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
