package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// rings announces the doorbell.
var rings = scaler.RingsAt("with natsServerEndpoint, while the trigger is idle, one subscription for each subject of the stream or of the " +
	"consumer's filter: it consumes nothing and needs the permission to subscribe to them; a message that arrives is sent to it once, " +
	"and the next one after a quarter of a second at the earliest, soon two; one connection to each endpoint, whatever the number of triggers")

// clientParams say where and as whom the trigger listens. KEDA has none of
// them.
type clientParams struct {
	client.TLSParams

	// ClientEndpoint is host:port of the client port of a server or cluster.
	// With it work is noticed as it is published; without, when the next reading
	// is due.
	ClientEndpoint string `param:"natsServerEndpoint" from:"auth,trigger"`
	// Username logs in to the client port, in the account of the stream.
	Username string `param:"username" from:"auth,env"`
	// Password belongs to username.
	Password string `param:"password" from:"auth,env" secret:"true"`
	// Token logs in instead of username and password.
	Token string `param:"token" from:"auth,env" secret:"true"`
	// Credentials is the text of a .creds file, which logs in instead.
	Credentials string `param:"credentials" from:"auth,env" secret:"true"`
	// TLS demands an encrypted connection to the client port. Without it, the
	// server says.
	TLS string `param:"tls" from:"auth" enum:"enable,disable" default:"disable"`
	// UnsafeSSL accepts any certificate at the client port.
	UnsafeSSL bool `param:"unsafeSsl" default:"false"`
}

// Validate checks what parameters ask of each other. What would belong to the
// doorbell is no mistake without one: KEDA ignores it.
func (p clientParams) Validate() error {
	if p.ClientEndpoint == "" {
		return nil
	}
	var problems []error
	if _, err := p.address(); err != nil {
		problems = append(problems, err)
	}
	if p.Username == "" && p.Password != "" {
		problems = append(problems, errors.New("username: is required with password"))
	}
	if _, err := p.login(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(append(problems, p.CheckPair())...)
}

// Warnings tell of credentials without a use.
func (p clientParams) Warnings() []string {
	if p.ClientEndpoint == "" && (p.Username != "" || p.Token != "" || p.Credentials != "") {
		return []string{"natsServerEndpoint: is not given, so the credentials are not used; the monitoring port asks for none"}
	}
	return nil
}

// Silent keeps the doorbell off unless the client port is named.
func (p clientParams) Silent() string {
	if p.ClientEndpoint == "" {
		return "natsServerEndpoint is not set"
	}
	return ""
}

// address is host and port of the client port.
func (p clientParams) address() (string, error) {
	text := strings.TrimPrefix(strings.TrimPrefix(p.ClientEndpoint, "nats://"), "tls://")
	if host, port, err := net.SplitHostPort(text); err == nil && host != "" && port != "" && !strings.ContainsAny(text, "/@") {
		return text, nil
	}
	if text != "" && !strings.ContainsAny(text, ":/@?#") {
		return net.JoinHostPort(text, clientPort), nil
	}
	return "", errors.New("natsServerEndpoint: is not host:port")
}

// doorbell listens at one client port as one user.
type doorbell struct {
	address string
	login   login
	tls     *tls.Config
	secure  bool // whatever the server says
	dialer  *client.Dialer
	shared  *client.SharedDoorbell
}

// shareDoorbell returns the one for an endpoint and a user, nil without.
func shareDoorbell(ctx context.Context, p clientParams) (*doorbell, error) {
	if p.ClientEndpoint == "" {
		return nil, nil //nolint:nilnil // nobody listens
	}
	return client.Shared(ctx, p, func(ctx context.Context) (*doorbell, error) {
		address, err := p.address()
		if err != nil {
			return nil, err
		}
		login, err := p.login()
		if err != nil {
			return nil, err
		}
		config, err := p.Config(p.UnsafeSSL)
		if err != nil {
			return nil, err
		}
		return &doorbell{
			address: address, login: login, tls: config, secure: p.TLS == "enable" || strings.HasPrefix(p.ClientEndpoint, "tls://"),
			dialer: client.DialerOf(ctx), shared: client.NewSharedDoorbell(ctx),
		}, nil
	})
}

// Close ends all listening.
func (d *doorbell) Close() error { //nolint:unparam // it is an io.Closer
	d.shared.Close()
	return nil
}

// Listen rings at every message that is published for the consumer: nothing is
// consumed. Subjects that change end it, and the next attempt takes the new
// ones.
func (s *consumerSource) Listen(ctx context.Context, listening, ring func()) error {
	if s.doorbell == nil {
		return fmt.Errorf("%w: natsServerEndpoint is not set", scaler.ErrDoorbellRefused)
	}
	hearing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	subjects := s.watch(func() { stop(errChanged) })
	defer s.watch(nil)
	if subjects.unheard != "" {
		return fmt.Errorf("%w: stream %s %s", scaler.ErrDoorbellRefused, s.stream, subjects.unheard)
	}
	echo := time.AfterFunc(counting, ring)
	echo.Stop() // until somebody listens
	defer echo.Stop()
	err := s.doorbell.shared.Listen(hearing, "", subjects.names, s.doorbell.hear, func() {
		echo.Reset(counting)
		listening()
	}, ring)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case context.Cause(hearing) != nil:
		return context.Cause(hearing)
	case errors.Is(err, scaler.ErrDoorbellRefused):
		return err
	}
	return s.doorbell.failure(err)
}

// errChanged ends listening to what was.
var errChanged = scaler.Errorf(codes.Unavailable, "the subjects of the stream, or the consumer's filter, have changed")

// watch returns the subjects as of the last read, and has changed called, if it
// is not nil, when a read finds others.
func (s *consumerSource) watch(changed func()) subjects {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = changed
	return s.subjects
}

// failure says that the client port is what failed, not the reading.
func (d *doorbell) failure(err error) error {
	var known interface{ GRPCStatus() *status.Status }
	if errors.As(err, &known) {
		return scaler.Errorf(known.GRPCStatus().Code(), "client port %s: %w", d.address, err)
	}
	code, text, ok := (client.TLSParams{}).NetworkFailure(err)
	if !ok {
		code, text = codes.Unavailable, err.Error()
	}
	return scaler.Errorf(code, "client port %s: %w", d.address, scaler.Because(code, text, err))
}

// Times of listening.
const (
	// connecting bounds what it takes until a session stands.
	connecting = 10 * time.Second
	// checking is how often a server is asked whether it is there; it has to
	// have answered by the next time.
	checking = 20 * time.Second
	// shortestHold and longestHold bound the time between two messages that one
	// subscription is sent.
	shortestHold = 250 * time.Millisecond
	longestHold  = 2 * time.Second
	// counting is how long a server may take to count a message that it has. One
	// that came just before listening began may be missing in the reading that
	// follows, and nothing else would ring for it.
	counting = 500 * time.Millisecond
)

// hear listens for all who listen at the client port, in one session.
func (d *doorbell) hear(ctx context.Context, listeners *client.Listeners) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	s, err := d.connect(ctx)
	if err != nil {
		return d.refusal(err)
	}
	defer s.Close()
	h := &hearing{session: s, listeners: listeners, subjects: map[string]*subject{}, ids: map[string]string{}, silent: map[*subject]struct{}{}}
	events := make(chan event)
	broken := make(chan error, 1)
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer s.Close() // ends receiving
	defer end()
	receiving.Go(func() { broken <- s.receive(ctx, events) })
	return d.refusal(h.run(ctx, events, broken))
}

// refusal says of a login that is refused that listening is.
func (d *doorbell) refusal(err error) error {
	if code := status.Code(err); err != nil && (code == codes.Unauthenticated || code == codes.PermissionDenied || code == codes.FailedPrecondition) {
		return fmt.Errorf("%w: %w", scaler.ErrDoorbellRefused, d.failure(err))
	}
	return err
}
