package main

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// metricsAnswer is what Azure Monitor says of metrics, as far as the newest values
// of their first series go.
//
// Source: https://learn.microsoft.com/rest/api/monitor/metrics/list
type metricsAnswer struct {
	first []metricValues // no more than one request asks for
	count int            // of all
}

// metricValues are the values of one metric.
type metricValues struct {
	Name struct {
		Value string `json:"value"`
	} `json:"name"`
	ErrorCode string    `json:"errorCode"`
	Series    oneSeries `json:"timeseries"`
}

// oneSeries is the first of a list of series.
type oneSeries struct {
	count  int // of the series
	points int
	newest newestPoint
	turn   func() error // of whoever decodes them
}

// newestPoint has the newest of each aggregation, nil where no point has it.
type newestPoint struct {
	Average *float64 `json:"average"`
	Count   *float64 `json:"count"`
	Maximum *float64 `json:"maximum"`
	Minimum *float64 `json:"minimum"`
	Total   *float64 `json:"total"`
}

// of is that of an aggregation.
func (p newestPoint) of(aggregation string) *float64 {
	switch aggregation {
	case "Average":
		return p.Average
	case "Count":
		return p.Count
	case "Maximum":
		return p.Maximum
	case "Minimum":
		return p.Minimum
	case "Total":
		return p.Total
	default:
		return nil
	}
}

// follow takes over what a newer point has: the newest one of all often has
// nothing yet.
func (p *newestPoint) follow(next newestPoint) {
	for _, one := range []struct{ have, next **float64 }{
		{&p.Average, &next.Average}, {&p.Count, &next.Count}, {&p.Maximum, &next.Maximum}, {&p.Minimum, &next.Minimum}, {&p.Total, &next.Total},
	} {
		if v := *one.next; v != nil && !math.IsNaN(*v) && !math.IsInf(*v, 0) {
			*one.have = v
		}
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *oneSeries) UnmarshalJSON(text []byte) error {
	*s = oneSeries{turn: s.turn}
	type series struct {
		Data points `json:"data"`
	}
	return client.EachElement(s.turn, text, series{points{turn: s.turn}}, func(next series) {
		if s.count == 0 {
			s.points, s.newest = next.Data.count, next.Data.newest
		}
		s.count++
	})
}

// points are those of one series.
type points struct {
	count  int
	newest newestPoint
	turn   func() error
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *points) UnmarshalJSON(text []byte) error {
	*p = points{turn: p.turn}
	return client.EachElement(p.turn, text, newestPoint{}, func(next newestPoint) {
		p.count++
		p.newest.follow(next)
	})
}

// add takes in one metric.
func (a *metricsAnswer) add(next metricValues) {
	if a.count < metricsAtOnce {
		a.first = append(a.first, next)
	}
	a.count++
}

// parseMetrics reads an answer.
func parseMetrics(turn func() error, body []byte) (*metricsAnswer, error) {
	var whole struct {
		Value json.RawMessage `json:"value"`
	}
	if json.Unmarshal(body, &whole) != nil || whole.Value == nil || isNull(whole.Value) {
		return nil, errNotOfAPI
	}
	var answer metricsAnswer
	if client.EachElement(turn, whole.Value, metricValues{Series: oneSeries{turn: turn}}, answer.add) != nil {
		return nil, errNotOfAPI
	}
	return &answer, nil
}

// named is the metric of a name, nil where there is none or more than one.
func (a *metricsAnswer) named(name string) (found *metricValues) {
	for i := range a.first {
		if strings.EqualFold(a.first[i].Name.Value, name) {
			if found != nil {
				return nil
			}
			found = &a.first[i]
		}
	}
	return found
}
