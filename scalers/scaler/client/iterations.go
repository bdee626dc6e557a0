package client

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/computing"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// MostIterations is how often a server may have a password hashed at a login.
// Servers keep to some thousands themselves; clients count to any number, or to
// many millions, deaf to their context.
const MostIterations = 100_000

// Hashing has what a server makes a login hash done in turn with all that the family
// computes, for the namespaces that use the connection. A nil one waits for nothing.
type Hashing struct{ payers func() []string }

// HashingOf is that of the connection that is being dialled.
func HashingOf(ctx context.Context) *Hashing {
	h := &Hashing{payers: func() []string { return nil }}
	if lease := pool.Of(ctx); lease != nil {
		h.payers = lease.Payers
	}
	return h
}

// longestHashing is how long a login waits for its turn.
const longestHashing = 5 * time.Second

var errNoHashing = words.Plain(codes.DeadlineExceeded, "login: there is no time left to hash the password, since other logins do so")

// Begin waits for the turn, and fails when that does not come in time. end gives it to
// others, and may be called again.
func (h *Hashing) Begin(ctx context.Context) (end func(), err error) {
	if h == nil {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(budget.OfMembers(ctx, h.payers()), longestHashing)
	defer cancel()
	turn := &computing.Turn{}
	if turn.Work(ctx) != nil {
		return nil, errNoHashing
	}
	return sync.OnceFunc(turn.Rest), nil
}

// TooManyIterations reports whether what a server says in a login of SCRAM asks
// for more than MostIterations. No other login's messages have the attribute for
// iterations.
//
// Source: RFC 5802, section 5.1.
func TooManyIterations(said []byte) bool {
	for attribute := range bytes.SplitSeq(said, []byte(",")) {
		text, found := bytes.CutPrefix(attribute, []byte("i="))
		if !found {
			continue
		}
		if n, err := strconv.Atoi(string(text)); err == nil && n > MostIterations {
			return true
		}
	}
	return false
}
