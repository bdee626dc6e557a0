package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/budget"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// requests bounds how many requests the process has under way at once, in all and
// for one namespace: each has a connection of its own, and one read may take
// several. They may take a quarter of the memory that there may be.
var requests = sync.OnceValue(func() *inbound.Gate {
	const fewest = 64
	most := max(int(budget.Part(4)/pool.UsualCost), 2*fewest)
	return inbound.NewGate(most, most/2).Leaving(most / 64)
})

// errNoTurn is the failure of a request that had no turn in time.
var errNoTurn = words.Plain(codes.DeadlineExceeded, "other requests of the namespace wait for an answer")

// gated makes requests in turn. One lasts until its answer is closed.
type gated struct {
	base http.RoundTripper
	gate *inbound.Gate
}

// RoundTrip implements http.RoundTripper.
func (g gated) RoundTrip(request *http.Request) (*http.Response, error) {
	leave, ok := g.gate.Enter(request.Context(), budget.Namespaces(request.Context())...)
	if !ok {
		if request.Body != nil {
			_ = request.Body.Close()
		}
		if err := request.Context().Err(); !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		return nil, errNoTurn
	}
	response, err := g.base.RoundTrip(request)
	if err != nil {
		leave()
		return nil, err
	}
	response.Body = &leaving{response.Body, sync.OnceFunc(leave)}
	return response, nil
}

// leaving is an answer whose request is over when it is closed.
type leaving struct {
	io.ReadCloser
	leave func()
}

// Close implements io.Closer.
func (l *leaving) Close() error {
	defer l.leave()
	return l.ReadCloser.Close()
}
