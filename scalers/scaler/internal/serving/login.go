package serving

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/defect"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/failure"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

const (
	// resolveTimeout bounds one attempt to read credentials.
	resolveTimeout = 10 * time.Second
	// resolveSpread is how far apart triggers of the same Secret resolve it.
	resolveSpread = 5 * time.Second
	// soonestResolve and latestResolve bound the pause before credentials that
	// could not be read, or that the source refuses, are read again: whoever
	// mends what is wrong sees it at once, whatever the interval. A thousand
	// triggers of one Secret are one read.
	soonestResolve = time.Second
	latestResolve  = 5 * time.Second
	// longestKept is how long a source goes on with credentials that cannot be
	// read again because nobody answers.
	longestKept = time.Hour
)

// login reads what a trigger refers to, and reads it again: when its time has
// come, after a failure, and as long as the source refuses what was read.
type login struct {
	loginConfig

	mu       sync.Mutex
	reading  bool
	read     time.Time // when the credentials were read last
	refused  time.Time // when the source refused them last
	refusing bool      // the last read of the source was refused
	failures int       // attempts failed in a row
	next     *time.Timer
	closed   bool
}

// loginConfig is what a login is made of. Its functions are called with no lock
// held.
type loginConfig struct {
	resolver contract.Resolver
	refs     contract.Reference
	held     *pool.Holding // the credentials, in bytes
	// start runs an attempt, on a goroutine that somebody ends and waits for.
	start func(attempt func(context.Context))
	// use understands the trigger with credentials, and returns what goes on with
	// them. Its error counts as one of reading them, and shows none.
	use func(*contract.Credentials) (func(), error)
	// lost is told that there are none. keep is true when who has some goes on with
	// them: nobody answered, and not for long.
	lost func(err error, keep bool)
}

// refers is true when credentials come by reference.
func (l *login) refers() bool {
	return l.refs.Authentication != "" || len(l.refs.Inline) > 0 || len(l.refs.Variables) > 0
}

// refresh reads the credentials, unless that is under way.
func (l *login) refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.reading {
		return
	}
	l.reading = true
	l.start(l.attempt)
}

// answered notes what the source said to the credentials at a time.
func (l *login) answered(err error, at time.Time) {
	refused := failure.Refused(err) && l.refers()
	l.mu.Lock()
	l.refusing = refused
	if refused {
		l.refused = at
	}
	l.mu.Unlock()
	if refused {
		l.refresh()
	}
}

// attempt reads the credentials once, and has them used.
func (l *login) attempt(ctx context.Context) {
	rctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	refs := l.refs
	l.mu.Lock()
	refs.NotBefore = l.refused
	l.mu.Unlock()
	creds, err := resolveSafely(rctx, l.resolver, refs)
	if err == nil {
		err = l.hold(creds)
	}
	var goOn func()
	if err == nil {
		goOn, err = l.use(creds)
	}
	if err != nil {
		l.failed(err)
		return
	}
	l.succeeded(creds)
	goOn()
}

func resolveSafely(ctx context.Context, r contract.Resolver, refs contract.Reference) (creds *contract.Credentials, err error) {
	defer defect.Recovered("resolve credentials", &err)
	return r.Resolve(ctx, refs)
}

// ofValue is what a value takes beside its name and its bytes.
const ofValue = 64

// hold counts the credentials, if the namespace may have so many.
func (l *login) hold(creds *contract.Credentials) error {
	bytes := 0
	for _, values := range []map[string]string{creds.Parameters, creds.Env} {
		for name, value := range values {
			bytes += len(name) + len(value) + ofValue
		}
	}
	for _, warning := range words.Few(creds.Warnings) { // as the trigger keeps them; others may have these
		bytes += len(warning)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	return l.held.Set(bytes)
}

// succeeded plans when the credentials are read again.
func (l *login) succeeded(creds *contract.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading, l.failures, l.read = false, 0, time.Now()
	switch {
	case l.closed:
	case l.refusing:
		l.refused = l.read // what was read by now will not do
		l.tryAgain(latestResolve)
	case !creds.ReadAgain.IsZero():
		// A thousand triggers that came together are not resolved together.
		l.tryAgain(time.Until(creds.ReadAgain) + time.Duration(rand.Int64N(int64(resolveSpread))))
	}
}

// failed tries again later: a Secret may be created and a right be granted at any
// time. That credentials are gone or no longer granted counts at once.
func (l *login) failed(err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.reading = false
	l.tryAgain(min(soonestResolve<<min(l.failures, 3), latestResolve))
	l.failures++
	keep := failure.Silent(err) && time.Since(l.read) < longestKept
	if !keep {
		_ = l.held.Set(0)
	}
	l.mu.Unlock()
	l.lost(err, keep)
}

// tryAgain reads the credentials after a pause. l.mu is held.
func (l *login) tryAgain(pause time.Duration) {
	if l.next != nil {
		l.next.Stop()
	}
	l.next = time.AfterFunc(pause, l.refresh)
}

// close ends it. An attempt under way comes to nothing.
func (l *login) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.next != nil {
		l.next.Stop()
	}
	_ = l.held.Set(0)
}
