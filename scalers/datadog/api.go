package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// api is the API of a site as one organisation. Datadog's own client is not used:
// it has a type for everything that the API knows and would make this one GET,
// whose answer is bounded, counted and judged by package client as all others.
type api struct {
	client *client.HTTPClient
	site   string
}

// apiSource evaluates one query.
type apiSource struct {
	api *api
	datadogParams
}

func (p datadogParams) openAPI(ctx context.Context) (scaler.Source, error) {
	a, err := client.Shared(ctx, []any{p.Site, p.APIKey, p.AppKey, p.Timeout}, func(ctx context.Context) (*api, error) {
		// Limits are those of the organisation, which has API keys of its own.
		account, err := client.AccountOf(ctx, []any{"datadog", p.Site, p.APIKey})
		if err != nil {
			return nil, err
		}
		options := p.options(account)
		options.Authorize = func(request *http.Request) error {
			request.Header.Set("DD-API-KEY", p.APIKey)
			request.Header.Set("DD-APPLICATION-KEY", p.AppKey)
			return nil
		}
		c, err := client.HTTP(ctx, options)
		return &api{client: c, site: p.Site}, err
	})
	if err != nil {
		return nil, err
	}
	return &apiSource{api: a, datadogParams: p}, nil
}

// Read evaluates the query over the window that ends now.
func (s *apiSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	ctx, release := client.Held(ctx)
	defer release()
	return s.filled(s.value(ctx))
}

func (s *apiSource) value(ctx context.Context) (float64, error) {
	began := time.Now()
	to := began.Unix() - int64(s.TimeWindowOffset)
	address := fmt.Sprintf("https://api.%s/api/v1/query?from=%d&to=%d&query=%s", s.api.site, to-int64(s.Age), to, url.QueryEscape(s.Query))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, errors.New("datadogSite: is not a host name")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "sluice-scaler-datadog")
	got, err := s.api.client.Do(request)
	if err != nil {
		return 0, refused(timed(ctx, err, s.api.client.Timeout(), began))
	}
	if got.Status != http.StatusOK {
		return 0, errOther
	}
	return client.Understand(ctx, got.Body, func(turn func() error) (float64, error) { return s.evaluate(turn, got.Body) })
}

// refused says what to do about an answer other than 200.
func refused(err error) error {
	var failed *client.HTTPError
	if !errors.As(err, &failed) {
		return err
	}
	switch failed.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return scaler.Errorf(codes.PermissionDenied, "%w: check apiKey and appKey, that they are of the site, and that appKey may read metrics (timeseries_query)", err)
	case http.StatusUnprocessableEntity:
		return unavailable(err)
	default:
		return err
	}
}

// throttled reads the headers that Datadog sends with 429.
//
// Source: https://docs.datadoghq.com/api/latest/rate-limits/
func throttled(answered int, header http.Header) *client.Throttling {
	t := client.ThrottledHTTP(answered, header)
	if t == nil || answered != http.StatusTooManyRequests {
		return t
	}
	number := func(name string) (int, bool) {
		n, err := strconv.Atoi(header.Get("X-RateLimit-" + name))
		return n, err == nil && n >= 0 && n <= math.MaxInt32
	}
	limit, limited := number("Limit")
	period, timed := number("Period")
	if limited && timed {
		t.Said += fmt.Sprintf(", the rate limit of %d requests in %d seconds is used up", limit, period)
	}
	if reset, told := number("Reset"); told {
		t.Said += fmt.Sprintf(", it resets after %d seconds", reset)
		t.Pause = max(t.Pause, time.Duration(reset)*time.Second)
	}
	if name := header.Get("X-RateLimit-Name"); len(name) <= 100 && isLimitName(name) {
		t.Said += " (" + name + ")"
	}
	return t
}

func isLimitName(text string) bool {
	return text != "" && strings.Trim(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789_-.") == ""
}

// queried is what the API says to a query.
type queried struct {
	Status string          `json:"status"`
	Error  string          `json:"error"`
	Series json.RawMessage `json:"series"` // may be null
}

// points are the values of a series; NaN where there is none.
type points struct {
	values []float64
	turn   func() error
}

// point is a time and a value, with room for one more to tell what has too many.
type point [3]json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (p *points) UnmarshalJSON(text []byte) error {
	var wrong error
	err := client.EachElement(p.turn, text, point{}, func(one point) {
		var value *float64
		switch {
		case one[1] == nil || one[2] != nil:
			wrong = errors.New("is not a time and a value")
		case json.Unmarshal(one[1], &value) != nil:
			wrong = errors.New("is not a number")
		case value == nil:
			p.values = append(p.values, math.NaN())
		default:
			p.values = append(p.values, *value)
		}
	})
	return errors.Join(err, wrong)
}

// errOther is an answer that is none of the API's.
var errOther = scaler.Errorf(codes.Unavailable, "the answer is not one of Datadog's API")

// evaluate makes one value of an answer.
func (s *apiSource) evaluate(turn func() error, body []byte) (float64, error) {
	var q queried
	if err := json.Unmarshal(body, &q); err != nil {
		return 0, errOther
	}
	switch {
	case q.Status == "error" || q.Error != "":
		return 0, scaler.Errorf(codes.FailedPrecondition, "Datadog cannot evaluate the query: %s", said(q.Error))
	case q.Status != "ok":
		return 0, errOther
	}
	all, err := s.combined(turn, q.Series)
	switch {
	case err != nil:
		return 0, errOther
	case all.count == 0:
		return 0, fmt.Errorf("no metrics returned: %w", scaler.ErrNoData)
	case all.count > 1 && s.QueryAggregator == "":
		return 0, scaler.Errorf(codes.FailedPrecondition, "the query returns %d series: have it return one, or give queryAggregator", all.count)
	case all.wrong != nil:
		return 0, all.wrong
	case s.QueryAggregator == "average":
		return all.total / float64(all.count), nil
	default:
		return all.highest, nil
	}
}

// oneSeries is one of an answer.
type oneSeries struct {
	Points points `json:"pointlist"`
}

// combined is what series come to. None of them is kept: there may be very many, with
// nothing in them.
type combined struct {
	count          int
	total, highest float64
	wrong          error // of the first without a value
}

func (s *apiSource) combined(turn func() error, list json.RawMessage) (combined, error) {
	all := combined{highest: math.Inf(-1)}
	if list == nil {
		return all, nil
	}
	err := client.EachElement(turn, list, oneSeries{points{turn: turn}}, func(one oneSeries) {
		all.count++
		if all.wrong != nil {
			return
		}
		value, err := one.Points.newest(s.LastAvailablePointOffset)
		all.wrong = err
		all.total += value
		all.highest = max(all.highest, value)
	})
	return all, err
}

// newest is the last value that there is, or one so many points before.
func (p *points) newest(offset int) (float64, error) {
	values := p.values
	at := len(values) - 1
	for at >= 0 && math.IsNaN(values[at]) {
		at--
	}
	switch {
	case at < 0:
		return 0, fmt.Errorf("the series has no point with a value: %w", scaler.ErrNoData)
	case at < offset:
		return 0, scaler.Errorf(codes.FailedPrecondition,
			"lastAvailablePointOffset: there are %d points before the last one with a value, want %d; a longer age has more", at, offset)
	case math.IsNaN(values[at-offset]):
		return 0, fmt.Errorf("the point at lastAvailablePointOffset has no value: %w", scaler.ErrNoData)
	}
	return values[at-offset], nil
}
