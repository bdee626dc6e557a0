package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// batchedInsight is a source that can be read together with others of its
// application.
type batchedInsight struct{ *insight }

// Batch implements scaler.Batched.
func (s batchedInsight) Batch() scaler.Batch { return insightsBatch{s.service, s.app} }

// insightsBatch reads many metrics of one application.
type insightsBatch struct {
	service *queried
	app     string
}

// byItself is how long a metric is asked for by itself that a request for many had
// no answer for: it is wrong, or the service takes no such requests.
const byItself = 10 * time.Minute

// insightsAtOnce is how many requests about one application are under way together.
const insightsAtOnce = 16

// ReadBatch asks for as many metrics at once as one request may ask for, and by
// itself for each that had no answer there.
func (b insightsBatch) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	var together, alone []insightMember
	for i, source := range sources {
		m := insightMember{source.(batchedInsight).insight, i}
		if time.Now().Unix() < m.alone.Load() {
			alone = append(alone, m)
		} else {
			together = append(together, m)
		}
	}
	scaler.InTurns(ctx, alone, func(m insightMember) []int { return []int{m.place} })
	asking := scaler.NewGroup(insightsAtOnce)
	chunks := slices.Collect(slices.Chunk(together, metricsAtOnce))
	failed := make(chan error, len(chunks))
	for _, members := range chunks {
		asking.Go("reading metrics of an application", func() {
			left, stalled := b.readMembers(ctx, members, answer)
			scaler.InTurns(ctx, left, func(m insightMember) []int { return []int{m.place} })
			each := scaler.NewGroup(insightsAtOnce)
			for _, m := range left {
				each.Go("reading metric "+m.metric, func() { m.apart(ctx, answer, stalled) })
			}
			failed <- each.Wait()
		})
	}
	for _, m := range alone {
		asking.Go("reading metric "+m.metric, func() { m.read(ctx, answer) })
	}
	err := asking.Wait()
	close(failed)
	for one := range failed {
		err = errors.Join(err, one)
	}
	return err
}

// insightMember is a metric of a batch, and where in the batch it is.
type insightMember struct {
	*insight

	place int
}

// read asks for the metric by itself.
func (m insightMember) read(ctx context.Context, answer func(int, scaler.Result)) {
	readings, err := m.Read(scaler.ForMembers(ctx, m.place))
	answer(m.place, scaler.Result{Readings: readings, Err: err})
}

// apart is read, from now on for a while. Of many that stalled those that do not by
// themselves go back to the others.
func (m insightMember) apart(ctx context.Context, answer func(int, scaler.Result), stalled bool) {
	m.alone.Store(time.Now().Add(byItself).Unix())
	readings, err := m.Read(scaler.ForMembers(ctx, m.place))
	if stalled && err == nil {
		m.alone.Store(0)
	}
	answer(m.place, scaler.Result{Readings: readings, Err: err})
}

// insightQuestion is one metric of a request for many.
//
// Source: https://learn.microsoft.com/rest/api/application-insights/metrics/get-multiple
type insightQuestion struct {
	ID         string `json:"id"`
	Parameters struct {
		Metric      string   `json:"metricId"`
		Timespan    string   `json:"timespan"`
		Aggregation []string `json:"aggregation"`
		Filter      string   `json:"filter,omitempty"`
	} `json:"parameters"`
}

// readMembers asks for all members in one request, in half of the time that there
// is, and returns those that had no answer of their own. stalled says that nobody had
// one in time.
func (b insightsBatch) readMembers(ctx context.Context, members []insightMember, answer func(int, scaler.Result)) (left []insightMember, stalled bool) {
	if len(members) == 1 {
		members[0].read(ctx, answer)
		return nil, false
	}
	asking, cancel := context.WithTimeout(ctx, time.Minute)
	if end, bounded := ctx.Deadline(); bounded {
		cancel()
		asking, cancel = context.WithTimeout(ctx, time.Until(end)/2)
	}
	defer cancel()
	places := make([]int, len(members))
	for i, m := range members {
		places[i] = m.place
	}
	asking, release := client.Held(scaler.ForMembers(asking, places...))
	defer release()
	found, err := b.ask(asking, members)
	switch {
	case takesOnlyOne(err):
		return members, false
	case status.Code(err) == codes.DeadlineExceeded && ctx.Err() == nil:
		return members, true
	case err != nil:
		for _, m := range members {
			answer(m.place, scaler.Result{Err: explained("metric "+m.metric, err, insightHints)})
		}
		return nil, false
	}
	for i, m := range members {
		if body := found[strconv.Itoa(i)]; body != nil {
			answer(m.place, m.judge(ctx, body))
		} else {
			left = append(left, m)
		}
	}
	return left, false
}

// takesOnlyOne reports whether a request for many was refused where one for a single
// metric may not be.
func takesOnlyOne(err error) bool {
	var refused *client.HTTPError
	if !errors.As(err, &refused) {
		return errors.Is(err, errNotOfAPI)
	}
	switch refused.Status {
	case http.StatusUnauthorized, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented:
		return true
	}
	return refused.Status < 500
}

// ask asks for many metrics, and returns the answers that there are by ids, which
// are the places of the members.
func (b insightsBatch) ask(ctx context.Context, members []insightMember) (map[string]json.RawMessage, error) {
	questions := make([]insightQuestion, len(members))
	for i, m := range members {
		q := &questions[i]
		q.ID = strconv.Itoa(i)
		q.Parameters.Metric, q.Parameters.Aggregation = m.metric, []string{m.aggregation}
		q.Parameters.Timespan, q.Parameters.Filter = m.query.Get("timespan"), m.query.Get("filter")
	}
	body, err := json.Marshal(questions)
	if err != nil {
		return nil, err
	}
	text, err := b.service.post(ctx, b.app, body, nil)
	if err != nil {
		return nil, err
	}
	return client.Understand(ctx, text, func(turn func() error) (map[string]json.RawMessage, error) {
		return parseInsights(turn, text, len(members))
	})
}

// parseInsights returns the answers to the first n ids, of those that have one.
// Nobody knows which of two counts.
func parseInsights(turn func() error, text []byte, n int) (map[string]json.RawMessage, error) {
	found, answers := make(map[string]json.RawMessage, n), make([]int, n)
	type answer struct {
		ID     string          `json:"id"`
		Status int             `json:"status"`
		Body   json.RawMessage `json:"body"`
	}
	err := client.EachElement(turn, text, answer{}, func(item answer) {
		i, err := strconv.Atoi(item.ID)
		if err != nil || i < 0 || i >= n {
			return
		}
		delete(found, item.ID)
		if answers[i]++; answers[i] == 1 && item.Status == http.StatusOK {
			found[item.ID] = item.Body
		}
	})
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		return nil, errNotOfAPI
	}
	return found, nil
}
