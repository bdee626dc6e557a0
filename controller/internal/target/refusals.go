package target

import (
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/kinds"
)

const (
	// mostRefusals are heard of a question within refusedFor; then the last one
	// stands for the API server.
	mostRefusals = 20
	refusedFor   = 10 * time.Second
	// grantedFor is how long nothing is refused from memory once an object was
	// read, or was not there: rights may be about single objects.
	grantedFor = 10 * time.Minute
	// mostAsked are the questions that are remembered; the oldest makes way.
	mostAsked = 1000
)

// asked is a question that all objects of a namespace put alike.
type asked struct {
	namespace string
	kind      v1alpha1.GroupVersionKindResource // zero for a kind that is looked for
	what      string                            // is read, "" of a kind that is looked for
}

// refusals remember what the API server said no to, so that thousands of objects
// whose targets nobody may read, or of kinds that there are not, do not ask it each.
type refusals struct {
	mu sync.Mutex
	of map[asked]refused
}

type refused struct {
	since   time.Time
	times   int
	last    error
	granted time.Time
}

// last is the refusal that the next one would be, nil when it is to be asked.
func (r *refusals) last(question asked, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.of[question]
	if known.times < mostRefusals || now.Sub(known.since) >= refusedFor {
		return nil
	}
	return known.last
}

// heard takes an answer to a question.
func (r *refusals) heard(question asked, err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, before := r.of[question]
	switch {
	case !refusal(err):
		if before && question.what != "" && (err == nil || apierrors.IsNotFound(err)) {
			r.of[question] = refused{granted: now}
		}
		return
	case before && !known.granted.IsZero() && now.Sub(known.granted) < grantedFor:
		return
	case known.times == 0 || now.Sub(known.since) >= refusedFor:
		known = refused{since: now}
	}
	known.times++
	known.last = err
	if r.of == nil {
		r.of = map[asked]refused{}
	}
	if !before && len(r.of) >= mostAsked {
		r.forgetOldest()
	}
	r.of[question] = known
}

// refusal reports whether an answer is a no that others would hear as well.
func refusal(err error) bool {
	var unknown *kinds.UnknownKindError
	return apierrors.IsForbidden(err) || errors.As(err, &unknown)
}

func (r *refusals) forgetOldest() {
	var oldest asked
	var since time.Time
	for question, known := range r.of {
		if at := later(known.since, known.granted); since.IsZero() || at.Before(since) {
			oldest, since = question, at
		}
	}
	delete(r.of, oldest)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
