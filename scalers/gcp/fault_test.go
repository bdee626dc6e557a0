package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// TestNetwork cuts, stalls and slows the network to Cloud Monitoring, for every
// type that it answers.
func TestNetwork(t *testing.T) {
	c := newCloud(t)
	for _, s := range everyType(c) {
		t.Run(s.Type, func(t *testing.T) {
			proxy, err := fault.Listen(c.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer proxy.Close()
			askAt(t, &monitoringAt, proxy.Addr())
			source := c.opener(t)(s)
			// read reads until it comes to what is wanted: a connection that was lost is
			// made anew after a pause.
			read := func(when string, limit time.Duration, wants ...codes.Code) {
				t.Helper()
				for {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					got, err := source.Read(ctx)
					cancel()
					for _, want := range wants {
						if status.Code(err) == want && (err != nil || got[0].Value == s.value) {
							return
						}
					}
					if within := t.Context(); within.Err() != nil || status.Code(err) != codes.Unavailable {
						t.Fatalf("%s: read %v, %v, want %v", when, got, err, wants)
					}
				}
			}
			defer proxy.Heal()
			read("at first", 30*time.Second, codes.OK)
			proxy.Cut()
			read("cut", 30*time.Second, codes.Unavailable)
			proxy.Heal()
			read("after the cut", 30*time.Second, codes.OK)
			proxy.Stall()
			read("stalled", 300*time.Millisecond, codes.DeadlineExceeded)
			proxy.Heal()
			read("after the stall", 30*time.Second, codes.OK)
			proxy.Delay(50 * time.Millisecond)
			read("slow", 30*time.Second, codes.OK)
		})
	}
}

// TestRefusals has Google refuse every type, and say so in its own words, which do
// not repeat what is secret.
func TestRefusals(t *testing.T) {
	c := newCloud(t)
	for _, s := range everyType(c) {
		for answer, want := range map[codes.Code]codes.Code{
			codes.InvalidArgument: codes.InvalidArgument, codes.NotFound: codes.NotFound, codes.PermissionDenied: codes.PermissionDenied,
			codes.Unauthenticated: codes.Unauthenticated, codes.Internal: codes.Unavailable, codes.Unimplemented: codes.Unavailable,
			codes.Unavailable: codes.Unavailable, codes.DeadlineExceeded: codes.DeadlineExceeded,
		} {
			c.Before(func(context.Context, *monitoringpb.ListTimeSeriesRequest) error {
				return status.Error(answer, "what Google says "+strings.Repeat("x", 4000))
			})
			_, err := c.opener(t)(s).Read(within(t))
			if status.Code(err) != want || !strings.HasPrefix(status.Convert(err).Message(), s.what+"Google Cloud Monitoring") || len(err.Error()) > 2000 {
				t.Errorf("%s, %v: error = %v", s.Type, answer, err)
			}
		}
		c.Before(nil)
	}
}

// TestThrottling has the quota of one project be used up: it rests for as long as
// Google says, without a request, and another project is read.
func TestThrottling(t *testing.T) {
	c := newCloud(t)
	other := undelivered("orders", 4)
	other.Project = "other"
	c.Set(undelivered("orders", 3), other)
	open := c.opener(t)
	here, there := open(subscription("orders")), open(subscription("projects/other/subscriptions/orders"))
	c.Before(func(_ context.Context, r *monitoringpb.ListTimeSeriesRequest) error {
		if r.GetName() == "projects/shop" {
			return gcloud.Exhausted(5 * time.Minute)
		}
		return nil
	})
	for range 3 {
		_, err := here.Read(within(t))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "it is not asked again before") {
			t.Errorf("error = %v", err)
		}
	}
	if got, err := there.Read(within(t)); err != nil || got[0].Value != 4 {
		t.Errorf("the other project: %v, %v", got, err)
	}
	if n := len(c.Requests()); n != 2 {
		t.Errorf("%d requests, want one of each project", n)
	}
}

// TestQueriesThatAreTooMuch: a query that takes too much of Google fails alone, and
// has no project rest that others ask about, too.
func TestQueriesThatAreTooMuch(t *testing.T) {
	c := newCloud(t)
	c.Set(undelivered("orders", 3), undelivered("tasks", 4))
	open := c.opener(t)
	much, ours := open(subscription("orders")), open(subscription("tasks"))
	tooMuch := true
	c.Before(func(context.Context, *monitoringpb.ListTimeSeriesRequest) error {
		if tooMuch {
			return status.Error(codes.ResourceExhausted, "The query takes too much memory.")
		}
		return nil
	})
	if _, err := much.Read(within(t)); status.Code(err) != codes.ResourceExhausted || strings.Contains(err.Error(), "throttles") || !strings.Contains(err.Error(), "too much memory") {
		t.Errorf("error = %v", err)
	}
	tooMuch = false
	if got, err := ours.Read(within(t)); err != nil || got[0].Value != 4 {
		t.Errorf("another trigger: %v, %v", got, err)
	}
}

// TestPages has series come in pages, with an empty one before them, and pages
// without end.
func TestPages(t *testing.T) {
	c := newCloud(t)
	subjects := everyType(c)
	for _, s := range subjects {
		empty := true
		c.Alter(func(r *monitoringpb.ListTimeSeriesResponse) {
			if empty {
				r.TimeSeries, r.NextPageToken = nil, "0"
			}
			empty = false
		})
		if got, err := c.opener(t)(s).Read(within(t)); err != nil || got[0].Value != s.value {
			t.Errorf("%s after an empty page: %v, %v", s.Type, got, err)
		}
		before := len(c.Requests())
		c.Alter(func(r *monitoringpb.ListTimeSeriesResponse) { r.TimeSeries, r.NextPageToken = nil, "0" })
		_, err := c.opener(t)(s).Read(within(t))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "more than 20 pages") {
			t.Errorf("%s, pages without end: %v", s.Type, err)
		}
		if n := len(c.Requests()) - before; n != mostPages {
			t.Errorf("%s: %d pages were asked for", s.Type, n)
		}
	}
}

// TestStrangeAnswers has answers without points, without values, with numbers that
// are none, and larger ones than an answer may be.
func TestStrangeAnswers(t *testing.T) {
	c := newCloud(t)
	for _, s := range everyType(c) {
		for name, tt := range map[string]struct {
			alter func(*monitoringpb.TimeSeries)
			code  codes.Code
			text  string
		}{
			"no points":       {func(s *monitoringpb.TimeSeries) { s.Points = nil }, codes.Unknown, "no metric was found"},
			"no value":        {func(s *monitoringpb.TimeSeries) { s.Points[0].Value = nil }, codes.FailedPrecondition, "the metric is not a number"},
			"no point inside": {func(s *monitoringpb.TimeSeries) { s.Points[0] = &monitoringpb.Point{} }, codes.FailedPrecondition, "the metric is not a number"},
			"much": {func(s *monitoringpb.TimeSeries) {
				s.Metric.Labels = map[string]string{"l": strings.Repeat("x", mostAnswer)}
			}, codes.Unavailable, "the answer is larger than 4194304 bytes"},
		} {
			c.Alter(func(r *monitoringpb.ListTimeSeriesResponse) {
				for _, s := range r.GetTimeSeries() {
					tt.alter(s)
				}
			})
			_, err := c.opener(t)(s).Read(within(t))
			if !strings.Contains(fmt.Sprint(err), tt.text) || tt.code != codes.Unknown && status.Code(err) != tt.code {
				t.Errorf("%s, %s: error = %v, want %v", s.Type, name, err, tt.code)
			}
		}
		c.Alter(nil)
	}
}

// TestAnswersWithoutMeasure has Google send as much as it can: the connection ends,
// and other reads go on.
func TestAnswersWithoutMeasure(t *testing.T) {
	c := newCloud(t)
	c.Set(undelivered("orders-000", 3))
	c.Alter(func(r *monitoringpb.ListTimeSeriesResponse) {
		r.NextPageToken = "0"
		r.TimeSeries = []*monitoringpb.TimeSeries{{Unit: strings.Repeat("x", 3<<20)}}
	})
	open := c.opener(t)
	var sources []scaler.Source
	for i := range 50 {
		sources = append(sources, open(subscription(fmt.Sprintf("orders-%03d", i))))
	}
	before := scalertest.Allocated()
	for _, r := range readTogether(t, sources) {
		if status.Code(r.Err) != codes.Unavailable {
			t.Errorf("error = %v", r.Err)
		}
	}
	if grown := scalertest.Allocated() - before; grown > 512<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
	c.Alter(nil)
	if got, err := open(subscription("orders-000", map[string]string{"timeHorizon": "3m"})).Read(within(t)); err != nil || got[0].Value != 3 {
		t.Errorf("afterwards: %v, %v", got, err)
	}
}
