package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// postgresqlSource is a source that can ring.
type postgresqlSource struct {
	source
	channel string
}

// Listen rings at every notification of the channel. All channels of a
// database share one session.
func (s *postgresqlSource) Listen(ctx context.Context, listening, ring func()) error {
	if why := unheard(s.channel); why != "" {
		return fmt.Errorf("%w: listenChannel %s", scaler.ErrDoorbellRefused, why)
	}
	err := s.database.doorbell.Listen(ctx, "", s.channel, s.database.notify, listening, ring)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.database.failure(err)
}

// longestChannel is PostgreSQL's limit on names, in bytes.
const longestChannel = 63

// unheard says why nobody can listen to a channel of that name, or nothing. A
// session is shared, so such a name is kept away from it.
func unheard(channel string) string {
	switch {
	case channel == "":
		return "names no channel of NOTIFY"
	case len(channel) > longestChannel:
		return fmt.Sprintf("is longer than %d bytes", longestChannel)
	case !utf8.ValidString(channel) || strings.ContainsRune(channel, 0):
		return "is not a text that PostgreSQL knows"
	}
	return ""
}

// subscriber keeps the one session that listens for all listeners.
type subscriber struct {
	config *pgx.ConnConfig
	login  func(context.Context, *pgx.ConnConfig) error
	limits subscriberLimits
}

// subscriberLimits bound every wait for the server, so that a session whose
// network swallows everything is given up soon.
type subscriberLimits struct {
	connect time.Duration // until a session stands
	silence time.Duration // until the server is asked whether it is there
	answer  time.Duration // until it has to have answered
}

var usualLimits = subscriberLimits{connect: 30 * time.Second, silence: 20 * time.Second, answer: 10 * time.Second}

// longestTold is what a server may say at once to a session that listens, in
// bytes: half of it may wait for the other half as long as the session stands. A
// notification has some eight thousand.
const longestTold = 16 << 10

// listen goes on until ctx ends, nobody is left or the session is lost.
func (s subscriber) listen(ctx context.Context, listeners *client.Listeners) error {
	session, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer farewell(ctx, session.Conn)
	var heard []string
	for {
		channels := listeners.Topics()
		if len(channels) == 0 {
			return nil
		}
		if err := s.switchTo(ctx, session, heard, channels); err != nil {
			return err
		}
		heard = channels
		listeners.Listening(channels)
		if err := s.hear(ctx, session, listeners); err != nil {
			return err
		}
	}
}

// listening is a session and the line that it goes through.
type listening struct {
	*pgx.Conn

	line *line
}

func (s subscriber) connect(ctx context.Context) (*listening, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.connect)
	defer cancel()
	own := s.config.Copy()
	own.BuildFrontend, own.MaxProtocolMessageBodyLen = frontend(longestTold), longestTold
	if err := s.login(ctx, own); err != nil {
		return nil, err
	}
	var session *pgx.Conn
	line, err := logIn(ctx, func(ctx context.Context) (err error) {
		session, err = pgx.ConnectConfig(ctx, own) //dials:through DialFunc of its configuration
		return err
	})
	if err != nil && session != nil {
		farewell(ctx, session)
	}
	return &listening{session, line}, err
}

// farewell ends the session; a server that stalls is not waited for.
func farewell(ctx context.Context, session *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = session.Close(ctx) // closed it is, either way
}

// switchTo listens to the channels that are new and no more to those that are
// gone. Both lists are in order.
func (s subscriber) switchTo(ctx context.Context, session *listening, heard, channels []string) error {
	if err := s.tell(ctx, session, "LISTEN ", missing(heard, channels)); err != nil {
		return err
	}
	return s.tell(ctx, session, "UNLISTEN ", missing(channels, heard))
}

// missing are those of wanted that all, which is in order, lacks.
func missing(all, wanted []string) []string {
	var lacking []string
	for _, one := range wanted {
		if _, found := slices.BinarySearch(all, one); !found {
			lacking = append(lacking, one)
		}
	}
	return lacking
}

// channelsAtOnce is how many channels one request names.
const channelsAtOnce = 100

// tell executes a command for each of the channels.
func (s subscriber) tell(ctx context.Context, session *listening, command string, channels []string) error {
	for some := range slices.Chunk(channels, channelsAtOnce) {
		var statements strings.Builder
		for _, channel := range some {
			statements.WriteString(command + pgx.Identifier{channel}.Sanitize() + ";")
		}
		err := s.ask(ctx, session, func(ctx context.Context) error {
			_, err := session.PgConn().Exec(ctx, statements.String()).ReadAll()
			return err
		})
		if err != nil {
			return listenFailure(err)
		}
	}
	return nil
}

// ask waits for an answer of the server no longer than it may take.
func (s subscriber) ask(ctx context.Context, session *listening, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.answer)
	defer cancel()
	session.line.ask()
	return session.line.because(question(ctx))
}

// listenFailure tells a server that never listens, such as a standby or a
// relative of PostgreSQL, from one that is in trouble.
func listenFailure(err error) error {
	var answered *pgconn.PgError
	if !errors.As(err, &answered) {
		return err
	}
	switch state := answered.Code; {
	case state == "25006":
		return fmt.Errorf("%w: a standby lets nobody LISTEN", scaler.ErrDoorbellRefused)
	case strings.HasPrefix(state, "0A"), strings.HasPrefix(state, "42"):
		return fmt.Errorf("%w: the server does not know LISTEN, or does not allow it (SQLSTATE %s)", scaler.ErrDoorbellRefused, state)
	}
	return err
}

// hear rings until the listeners change. A session that is silent for long is
// checked.
func (s subscriber) hear(ctx context.Context, session *listening, listeners *client.Listeners) error {
	changed, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-listeners.Changed():
			stop()
		case <-changed.Done():
		}
	}()
	defer func() { <-done }()
	defer stop()
	for {
		waiting, cancel := context.WithTimeout(changed, s.limits.silence)
		session.line.ask()
		notification, err := session.WaitForNotification(waiting)
		silent := errors.Is(waiting.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case err == nil:
			listeners.Ring(notification.Channel)
		case ctx.Err() != nil:
			return ctx.Err()
		case changed.Err() != nil:
			return nil
		case silent:
			if err := s.ask(ctx, session, session.Ping); err != nil {
				return err
			}
		default:
			return session.line.because(err)
		}
	}
}
