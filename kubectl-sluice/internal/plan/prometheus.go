package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

// Prometheus has what was recorded of objects.
type Prometheus struct {
	// URL is where it answers, with or without a user and a password.
	URL string
	// Token is sent as a bearer token, "" for none.
	Token string
	// Client asks it.
	Client *http.Client
}

// Range is what is asked for.
type Range struct {
	Namespace, Name string
	From, To        time.Time
	Step            time.Duration
}

const (
	// pageOfSteps is how many moments one question is for: Prometheus answers for
	// 11,000.
	pageOfSteps = 10_000
	// mostOfAnswer is what one answer may have.
	mostOfAnswer = 64 << 20
)

// query has the last value of each metric of each trigger. A Prometheus that scrapes
// the controller by the names of its own calls the object's namespace
// exported_namespace.
const query = `max by (triggerIndex, metric) (keda_scaler_metrics_value{scaledObject=%[1]q,exported_namespace=%[2]q,scaler!="composite-metric"}` +
	` or keda_scaler_metrics_value{scaledObject=%[1]q,namespace=%[2]q,exported_namespace="",scaler!="composite-metric"})`

// Read reads what was recorded of an object. Where there is nothing for a step or
// more, there was no data.
func (p *Prometheus) Read(ctx context.Context, r Range) (*Recording, error) {
	recording := &Recording{From: "Prometheus", Series: map[string][]Point{}}
	switch {
	case r.Step < time.Second:
		return nil, fmt.Errorf("step %s: is less than a second", r.Step)
	case r.To.Sub(r.From) > longest:
		return nil, fmt.Errorf("%s is more than the %s that can be replayed", r.To.Sub(r.From), longest)
	}
	points := 0
	for from := r.From; !from.After(r.To); from = from.Add(pageOfSteps * r.Step) {
		to := from.Add((pageOfSteps - 1) * r.Step)
		if to.After(r.To) {
			to = r.To
		}
		page, err := p.page(ctx, fmt.Sprintf(query, r.Name, r.Namespace), from, to, r.Step)
		if err != nil {
			return nil, err
		}
		for _, series := range page {
			if points += len(series.points); points > mostPoints {
				return nil, fmt.Errorf("Prometheus has more than %d values: replay a shorter time, or with a longer --step", mostPoints)
			}
			name := series.name()
			if recording.Series[name] == nil && len(recording.Series) == mostSeries {
				return nil, fmt.Errorf("Prometheus has more than %d metrics of the object", mostSeries)
			}
			recording.Series[name] = append(recording.Series[name], series.points...)
		}
	}
	if len(recording.Series) == 0 {
		return nil, fmt.Errorf("Prometheus has no keda_scaler_metrics_value of ScaledObject %s/%s from %s to %s: does it scrape the controller?",
			r.Namespace, r.Name, r.From.Format(time.RFC3339), r.To.Format(time.RFC3339))
	}
	for name, points := range recording.Series {
		recording.Series[name] = withGaps(points, r.Step)
	}
	return recording, recording.check()
}

// withGaps says where there was no data. A point more or less is the clock's.
func withGaps(points []Point, step time.Duration) []Point {
	slices.SortStableFunc(points, byTime)
	var all []Point
	for i, p := range points {
		if i > 0 && p.At.Equal(points[i-1].At) {
			continue
		}
		if i > 0 && p.At.Sub(points[i-1].At) > step+step/2 {
			all = append(all, Point{At: points[i-1].At.Add(step), Outcome: scaling.NoData})
		}
		all = append(all, p)
	}
	return all
}

// matrix is one series of an answer.
type matrix struct {
	labels map[string]string
	points []Point
}

// name is what places a series: its metric where that tells the index, too.
func (m *matrix) name() string {
	if i, _, ok := scaling.SplitMetricName(m.labels["metric"]); ok && strconv.Itoa(i) == m.labels["triggerIndex"] {
		return m.labels["metric"]
	}
	return m.labels["triggerIndex"]
}

func (p *Prometheus) page(ctx context.Context, query string, from, to time.Time, step time.Duration) ([]*matrix, error) {
	at, err := url.Parse(p.URL)
	if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, errors.New("is no URL such as https://prometheus.example.com") // it may have a password in it
	}
	at = at.JoinPath("api", "v1", "query_range")
	form := url.Values{
		"query": {query}, "start": {unix(from)}, "end": {unix(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("is no URL such as https://prometheus.example.com")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.Token != "" {
		request.Header.Set("Authorization", "Bearer "+p.Token)
	}
	response, err := p.Client.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the URL may have a password in it
		}
		return nil, fmt.Errorf("Prometheus at %s: %w", at.Host, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostOfAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("Prometheus at %s: %w", at.Host, err)
	case len(text) > mostOfAnswer:
		return nil, fmt.Errorf("Prometheus at %s: the answer has more than %d MiB; a longer --step has fewer values", at.Host, mostOfAnswer>>20)
	}
	all, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("Prometheus at %s: HTTP %d: %w", at.Host, response.StatusCode, err)
	}
	return all, nil
}

func unix(at time.Time) string { return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64) }

// decode understands an answer of Prometheus' HTTP API.
//
// Source: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
func decode(text []byte) ([]*matrix, error) {
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			ResultType string `json:"resultType"`
			Result     []struct {
				Metric map[string]string    `json:"metric"`
				Values [][2]json.RawMessage `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	switch err := json.Unmarshal(text, &answer); {
	case err != nil:
		return nil, errors.New("the answer is not that of a Prometheus")
	case answer.Status != "success":
		const most = 300
		said := []rune(strings.ToValidUTF8(answer.Error, "?"))
		return nil, fmt.Errorf("it says: %s", string(said[:min(len(said), most)]))
	case answer.Data.ResultType != "matrix":
		return nil, errors.New("the answer is no matrix")
	}
	var all []*matrix
	for _, result := range answer.Data.Result {
		m := &matrix{labels: maps.Clone(result.Metric)}
		for _, pair := range result.Values {
			p, err := sample(pair)
			if err != nil {
				return nil, err
			}
			m.points = append(m.points, p)
		}
		if len(m.points) > 0 {
			all = append(all, m)
		}
	}
	return all, nil
}

// sample is one value: NaN and the infinities are none.
func sample(pair [2]json.RawMessage) (Point, error) {
	var at float64
	var text string
	if json.Unmarshal(pair[0], &at) != nil || json.Unmarshal(pair[1], &text) != nil || !(at > 0 && at < 1e11) {
		return Point{}, errors.New("a sample is no time and number")
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Point{}, errors.New("a sample is no time and number")
	}
	p := Point{At: time.UnixMilli(int64(math.Round(at * 1000))).UTC(), Outcome: scaling.Value, Value: v}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		p.Outcome, p.Value = scaling.NoData, 0
	}
	return p, nil
}
