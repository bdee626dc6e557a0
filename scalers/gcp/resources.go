package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// resourceQuery is what sources that can be asked together have in common: one
// metric of one project, of which each wants the series of its own resource. It is
// their batch.
type resourceQuery struct {
	project

	metric string
	kind   string // of the monitored resources, "" for any
	label  string // of the resource that has its id
	window time.Duration
	// aggregated is whether the change within alignment is reduced over all series
	// of a resource: by a function, or by none where only the query language has it.
	aggregated bool
	function   function
}

// resourceSource reads the metric of one resource.
type resourceSource struct {
	scaler.Member

	query      resourceQuery
	id         string
	what       string   // names it in errors
	hint       string   // what to do where nothing is found
	substitute *float64 // of a reading without series, or nil
	// byText is set once it is known that only the query language answers.
	byText atomic.Bool
	// refused is set while Google finds the question for it wrong: it is asked by
	// itself, so that others have their answers.
	refused atomic.Bool
	// warned is set once it was said that there are several series.
	warned atomic.Bool
}

// alignment is the period whose change is aggregated.
const alignment = 3 * time.Minute

const (
	// longestFilter is what a filter may have, in bytes, with room to spare:
	// Google takes 2,048 characters.
	longestFilter = 2000
	// mostTogether is how many resources one request asks for.
	mostTogether = 100
	// mostPoints is how many points one request may find, at one each minute.
	mostPoints = mostPages * manyPoints / 2
	// requestsAtOnce is how many requests of one batch are under way together.
	requestsAtOnce = 4
)

// filter is the one for resources.
func (q resourceQuery) filter(ids []string) string {
	terms := []string{"metric.type=" + quoted(q.metric)}
	if q.kind != "" {
		terms = append(terms, "resource.type="+quoted(q.kind))
	}
	return strings.Join(append(terms,
		"resource.labels."+q.label+"="+anyOf(ids),
		"resource.labels.project_id="+quoted(q.name)), " AND ")
}

// listing is the question for resources. What is asked for several is grouped by
// them, so that each gets what it would get alone.
func (q resourceQuery) listing(ids []string) listing {
	l := listing{filter: q.filter(ids), window: q.window}
	if q.aggregated {
		l.aggregation = &monitoringpb.Aggregation{
			AlignmentPeriod:    durationpb.New(alignment),
			PerSeriesAligner:   monitoringpb.Aggregation_ALIGN_DELTA,
			CrossSeriesReducer: q.function.reducer,
		}
		if len(ids) > 1 {
			l.aggregation.GroupByFields = []string{"resource.label." + q.label}
		}
	}
	return l
}

// text is the question for one resource in Monitoring Query Language.
func (q resourceQuery) text(id string) string {
	literal := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
	}
	query := fmt.Sprintf("fetch %s | metric %s | filter (resource.project_id == %s && resource.%s == %s) | within %s",
		q.kind, literal(q.metric), literal(q.name), q.label, literal(id), q.window)
	if q.aggregated {
		query += fmt.Sprintf(" | align delta(%s) | every %s | group_by [], %s", alignment, alignment, q.function.mql)
	}
	return query
}

// ReadBatch asks once for as many resources as one request can ask for.
func (q resourceQuery) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	parts := q.parts(ctx, sources)
	asking := scaler.NewGroup(requestsAtOnce)
	for _, part := range parts {
		asking.Go("reading metrics of project "+q.name, func() {
			members := make([]*resourceSource, len(part))
			for i, member := range part {
				members[i] = sources[member].(*resourceSource)
			}
			q.read(scaler.ForMembers(ctx, part...), members, func(i int, r scaler.Result) { answer(part[i], r) })
		})
	}
	return asking.Wait()
}

// parts divides members into requests. Those that are asked alone may be many, and
// those that were refused come to nothing: they are not to keep others waiting.
func (q resourceQuery) parts(ctx context.Context, sources []scaler.Source) [][]int {
	var parts, alone, refused [][]int
	var part []int
	most := max(1, min(mostTogether, mostPoints/(1+int(q.window/time.Minute))))
	base := len(q.filter([]string{"", ""}))
	length := base
	for i, source := range sources {
		s := source.(*resourceSource)
		if s.refused.Load() {
			refused = append(refused, []int{i})
			continue
		}
		if s.alone() {
			alone = append(alone, []int{i})
			continue
		}
		more := len(quoted(s.id)) + len(", ")
		if len(part) == most || len(part) > 0 && length+more > longestFilter {
			parts, part, length = append(parts, part), nil, base
		}
		part, length = append(part, i), length+more
	}
	if len(part) > 0 {
		parts = append(parts, part)
	}
	for _, each := range [][][]int{alone, refused} {
		scaler.InTurns(ctx, each, func(part []int) []int { return part })
	}
	return slices.Concat(parts, alone, refused)
}

// alone reports whether a source cannot be asked together with others.
func (s *resourceSource) alone() bool {
	return s.byText.Load() || s.query.aggregated && s.query.function.reducer == monitoringpb.Aggregation_REDUCE_NONE
}

// read answers members that one request asks for.
func (q resourceQuery) read(ctx context.Context, members []*resourceSource, answer func(int, scaler.Result)) {
	if len(members) == 1 {
		value, err := members[0].readAlone(ctx)
		members[0].refused.Store(status.Code(err) == codes.InvalidArgument)
		readings, err := judge(members[0].what, members[0].hint, value, err, members[0].substitute)
		answer(0, scaler.Result{Readings: readings, Err: err})
		return
	}
	found, err := q.together(ctx, members)
	switch status.Code(err) {
	case codes.OK:
	case codes.InvalidArgument: // of one of them, perhaps, which is found by halves
		half := len(members) / 2
		q.read(forMembers(ctx, 0, half), members[:half], answer)
		q.read(forMembers(ctx, half, len(members)), members[half:], func(i int, r scaler.Result) { answer(half+i, r) })
		return
	default:
		for i, s := range members {
			answer(i, scaler.Result{Err: scaler.Errorf(status.Code(err), "%s: %w", s.what, err)})
		}
		return
	}
	for i, s := range members {
		value, err := found[s.id].value()
		if err == nil {
			value = q.made(value)
			s.warn(found[s.id].several)
		} else if q.aggregated && errors.Is(err, errDistribution) {
			s.byText.Store(true)
			value, err = s.readAlone(forMembers(ctx, i, i+1))
		}
		readings, err := judge(s.what, s.hint, value, err, s.substitute)
		answer(i, scaler.Result{Readings: readings, Err: err})
	}
}

// forMembers is scaler.ForMembers for those from one place up to another.
func forMembers(ctx context.Context, from, to int) context.Context {
	places := make([]int, to-from)
	for i := range places {
		places[i] = from + i
	}
	return scaler.ForMembers(ctx, places...)
}

// readAlone is the value of one source, asked by itself.
func (s *resourceSource) readAlone(ctx context.Context) (float64, error) {
	if s.alone() {
		value, err := s.query.asked(ctx, s.query.text(s.id))
		if s.query.aggregated && errors.Is(err, errDistribution) {
			err = errStillOne
		}
		return value, err
	}
	value, several, err := s.query.first(ctx, s.query.listing([]string{s.id}))
	if s.query.aggregated && errors.Is(err, errDistribution) {
		// The sum of distributions is one in the list, and a number in the language.
		s.byText.Store(true)
		return s.readAlone(ctx)
	}
	if status.Code(err) == codes.InvalidArgument && s.query.aggregated {
		// The list does not take changes of a metric that does not count.
		value, askErr := s.query.asked(ctx, s.query.text(s.id))
		if askErr == nil || errors.Is(askErr, errNoSeries) {
			s.byText.Store(true)
			return value, askErr
		}
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	s.warn(several)
	return s.query.made(value), nil
}

// made is the aggregated value, where the reducer gives something else.
func (q resourceQuery) made(value float64) float64 {
	if q.function.squared {
		return value * value
	}
	return value
}

// seen is what is known of the series of one resource.
type seen struct {
	series  *monitoringpb.TimeSeries // the first
	several bool
}

func (s *seen) value() (float64, error) {
	if s == nil {
		return 0, errNoSeries
	}
	return newest(s.series)
}

// together finds the first series of each member by one request and its pages.
func (q resourceQuery) together(ctx context.Context, members []*resourceSource) (map[string]*seen, error) {
	ids := make([]string, len(members))
	asked := make(map[string]bool, len(members))
	for i, s := range members {
		ids[i], asked[s.id] = s.id, true
	}
	found := make(map[string]*seen, len(members))
	err := q.list(ctx, q.listing(ids), manyPoints, func(page []*monitoringpb.TimeSeries) bool {
		for _, series := range page {
			id := series.GetResource().GetLabels()[q.label]
			switch known := found[id]; {
			case !asked[id]:
			case known == nil:
				// Only the newest of its points counts, and pages may be many.
				series.Points = slices.Clone(series.Points[:min(len(series.Points), 1)])
				found[id] = &seen{series: series}
			case !known.several:
				known.several = !sameSeries(known.series, series)
			}
		}
		return true
	})
	return found, err
}

// warn says that there are several series of the resource, once.
func (s *resourceSource) warn(several bool) {
	if several && !s.warned.Swap(true) {
		slog.Warn("several time series of one resource: the first one counts", "metric", s.query.metric, "resource", s.what)
	}
}
