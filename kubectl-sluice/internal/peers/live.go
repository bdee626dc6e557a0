package peers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/families"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

const (
	// questionTime is how long one question may take.
	questionTime = 5 * time.Second
	// mostTypes are asked for at most: somebody's manifests may have any number.
	mostTypes = 200
	// mostProblems are told of one trigger.
	mostProblems = 100
)

// Live are families as they are installed. What they do not tell is what this
// version knows of them.
type Live struct {
	types    map[string]*asked
	sessions map[string]*Session // by Pod
	notes    []string
}

// asked is what came of asking for a trigger type.
type asked struct {
	session     *Session // nil where nobody can be asked
	noted       bool     // that it says nothing of a trigger
	served      bool     // by somebody, whoever that is
	description *scalerv1.TriggerType
}

// Learn asks the families of trigger types what these are. Whoever has the answer
// closes it.
func (f *Families) Learn(ctx context.Context, types []string) (*Live, error) {
	l := &Live{types: map[string]*asked{}, sessions: map[string]*Session{}}
	for _, triggerType := range slices.Compact(slices.Sorted(slices.Values(types))) {
		if len(l.types) == mostTypes {
			l.notes = append(l.notes, fmt.Sprintf("more than %d trigger types: the others are held against what this version knows", mostTypes))
			break
		}
		a := &asked{}
		l.types[triggerType] = a
		if err := l.learn(ctx, f, triggerType, a); err != nil {
			l.notes = append(l.notes, fmt.Sprintf("type %.64s: %s", triggerType, externalscaler.Message(status.Convert(err).Message())))
		}
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

func (l *Live) learn(ctx context.Context, f *Families, triggerType string, a *asked) error {
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	peer, err := f.Find(ctx, triggerType)
	if err != nil {
		var unaskable *UnaskableError
		a.served = errors.As(err, &unaskable)
		return err
	}
	a.served = true
	session := l.sessions[peer.Name]
	if session == nil {
		if session, err = peer.Open(); err != nil {
			return err
		}
		l.sessions[peer.Name] = session
	}
	described, err := scalerv1.NewScalerServiceClient(session).Describe(ctx, &scalerv1.DescribeRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil // somebody's own, which describes nothing
	case err != nil:
		return session.Why(ctx, err)
	}
	a.session = session
	for _, t := range described.GetTriggerTypes() {
		if t.GetType() == triggerType {
			a.description = t
		}
	}
	return nil
}

// Close ends all connections.
func (l *Live) Close() error {
	var errs []error
	for _, session := range l.sessions {
		errs = append(errs, session.Close())
	}
	return errors.Join(errs...)
}

// Serves reports whether somebody serves a trigger type in the cluster.
func (l *Live) Serves(triggerType string) bool {
	a := l.types[triggerType]
	return a != nil && a.served
}

// Notes say who could not be asked, and why.
func (l *Live) Notes() []string { return l.notes }

// Describe implements rules.Families.
func (l *Live) Describe(triggerType string) (*scalerv1.TriggerType, error) {
	if a := l.types[triggerType]; a != nil && a.description != nil {
		return a.description, nil
	}
	return families.Described{}.Describe(triggerType)
}

// Check implements rules.Families.
func (l *Live) Check(ctx context.Context, t federation.Trigger) ([]string, error) {
	a := l.types[t.Type]
	if a == nil || a.session == nil {
		return nil, families.ErrNotAsked
	}
	ref, err := t.Ref()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	answer, err := scalerv1.NewScalerServiceClient(a.session).Check(ctx, &scalerv1.CheckRequest{Ref: ref})
	if err != nil {
		if !a.noted {
			a.noted = true
			l.notes = append(l.notes, fmt.Sprintf("type %.64s: what is wrong with its triggers beyond their parameters is not known: %s",
				t.Type, externalscaler.Message(status.Convert(err).Message())))
		}
		if code := status.Code(err); code != codes.InvalidArgument && code != codes.PermissionDenied {
			a.session = nil // one that does not answer is not waited for again
		}
		return nil, err
	}
	problems := answer.GetProblems()
	problems = problems[:min(len(problems), mostProblems)]
	for i, text := range problems {
		problems[i] = externalscaler.Message(text)
	}
	return problems, nil
}
