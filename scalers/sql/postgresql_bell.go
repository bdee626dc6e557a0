package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// postgresqlSource is a source that can ring.
type postgresqlSource struct {
	source
	channel string
}

// Listen rings at every notification of the channel. All channels of a
// database share one session.
func (s *postgresqlSource) Listen(ctx context.Context, listening, ring func()) error {
	if s.channel == "" {
		return fmt.Errorf("%w: listenChannel names no channel of NOTIFY", scaler.ErrDoorbellRefused)
	}
	err := s.database.bell.Listen(ctx, "", s.channel, s.database.notify, listening, ring)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.database.failure(err)
}

// alive is how often a silent session is checked.
const alive = 30 * time.Second

// listen is the session that listens for all ears.
func listen(ctx context.Context, config *pgx.ConnConfig, login func(context.Context, *pgx.ConnConfig) error, ears *scaler.Ears) error {
	own := config.Copy()
	if err := login(ctx, own); err != nil {
		return err
	}
	session, err := pgx.ConnectConfig(ctx, own)
	if err != nil {
		return err
	}
	defer farewell(ctx, session)
	var heard []string
	for {
		channels := ears.Topics()
		if len(channels) == 0 {
			return nil
		}
		if err := tune(ctx, session, heard, channels); err != nil {
			return err
		}
		heard = channels
		ears.Listening(channels)
		if err := hear(ctx, session, ears); err != nil {
			return err
		}
	}
}

// farewell ends the session; a server that stalls is not waited for.
func farewell(ctx context.Context, session *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = session.Close(ctx) // closed it is, either way
}

// tune listens to what is new and no more to what is gone.
func tune(ctx context.Context, session *pgx.Conn, heard, channels []string) error {
	for _, channel := range channels {
		if !slices.Contains(heard, channel) {
			if _, err := session.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
				return err
			}
		}
	}
	for _, channel := range heard {
		if !slices.Contains(channels, channel) {
			if _, err := session.Exec(ctx, "UNLISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
				return err
			}
		}
	}
	return nil
}

// hear rings until the ears change. A session that is silent for long is
// checked.
func hear(ctx context.Context, session *pgx.Conn, ears *scaler.Ears) error {
	changed, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ears.Changed():
			stop()
		case <-changed.Done():
		}
	}()
	defer func() { <-done }()
	defer stop()
	for {
		waiting, cancel := context.WithTimeout(changed, alive)
		notification, err := session.WaitForNotification(waiting)
		silent := errors.Is(waiting.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case err == nil:
			ears.Ring(notification.Channel)
		case ctx.Err() != nil:
			return ctx.Err()
		case changed.Err() != nil:
			return nil
		case silent:
			if err := session.Ping(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
