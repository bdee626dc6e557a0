package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// cron asks for a number of replicas inside recurring time windows, to the
// second.
var cron = scaler.Define("cron", openCron, scaler.Scheduled())

// cronParams is the metadata of a cron trigger.
type cronParams struct {
	// Timezone is the IANA name of the time zone that start and end are in,
	// such as Europe/Berlin. A TZ= or CRON_TZ= before a schedule overrides it
	// for that one.
	Timezone string `param:"timezone,required"`
	// Start is when the window opens: five cron fields, minute, hour, day of
	// month, month and day of week.
	Start string `param:"start,required" long:"true"`
	// End is when the window closes, written like start.
	End string `param:"end,required" long:"true"`
	// DesiredReplicas is how many replicas to ask for inside the window;
	// outside none are asked for.
	DesiredReplicas int64 `param:"desiredReplicas,required" unit:"replicas"`
}

// Validate says which schedule is wrong and why. What would be on or off for
// ever is refused as well: KEDA accepts it and leaves the user wondering.
func (p cronParams) Validate() error {
	var problems []error
	if p.DesiredReplicas < 1 {
		problems = append(problems, fmt.Errorf("desiredReplicas: %d is not at least 1", p.DesiredReplicas))
	}
	if p.Start != "" && p.Start == p.End {
		problems = append(problems, errors.New("end: is the same as start"))
	}
	_, err := p.window()
	return errors.Join(append(problems, err)...)
}

// Warnings names a window that never closes although its schedules are
// written differently.
func (p cronParams) Warnings() []string {
	w, err := p.window()
	if err != nil || !w.start.equals(w.end) {
		return nil
	}
	return []string{"end: names the same times as start, so the window never closes"}
}

// window returns the window that the parameters describe, or everything that
// is wrong with it.
func (p cronParams) window() (window, error) {
	zone, zoneErr := loadZone(p.Timezone)
	start, startErr := parseSchedule(p.Start, zone)
	end, endErr := parseSchedule(p.End, zone)
	return window{start: start, end: end}, errors.Join(
		about("timezone", zoneErr), about("start", startErr), about("end", endErr))
}

// about names the parameter that an error is about.
func about(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}

// scheduleChars make a schedule fit for a metric name, in this order.
var scheduleChars = [][2]string{{" ", ""}, {"*", "x"}, {"/", "Sl"}, {"?", "Qm"}, {",", "Cm"}}

// nameOf is a schedule as it stands in the metric name. Hyphens stay.
func nameOf(schedule string) string {
	for _, replaced := range scheduleChars {
		schedule = strings.ReplaceAll(schedule, replaced[0], replaced[1])
	}
	return schedule
}

// Metrics has a target of one, so that the autoscaler wants as many replicas
// as the value says.
func (p cronParams) Metrics() []scaler.Metric {
	return []scaler.Metric{{
		Name:   scaler.MetricName("cron", p.Timezone, nameOf(p.Start), nameOf(p.End)),
		Target: 1,
	}}
}

// cronSource reads the clock.
type cronSource struct {
	window  window
	desired float64
	now     func() time.Time
	closed  time.Time // when it was last seen closed, zero since it is open
}

func openCron(_ context.Context, p cronParams) (scaler.Source, error) { return openAt(p, time.Now) }

// openAt opens a source with a clock of the caller's.
func openAt(p cronParams, now func() time.Time) (scaler.Source, error) {
	w, err := p.window()
	if err != nil {
		return nil, err
	}
	return &cronSource{window: w, desired: float64(p.DesiredReplicas), now: now}, nil
}

// Read returns the desired replicas inside the window and 0 outside. The first
// read inside that follows one outside tells when the window opened.
func (s *cronSource) Read(context.Context) ([]scaler.Reading, error) {
	now := s.now()
	if !s.window.open(now) {
		s.closed = now
		return scaler.One(0), nil
	}
	readings := scaler.One(s.desired)
	if !s.closed.IsZero() {
		readings[0].EventTime = s.window.last(s.closed, now)
		s.closed = time.Time{}
	}
	return readings, nil
}

// Next is when the window opens or closes.
func (s *cronSource) Next(now time.Time) time.Time { return s.window.next(now) }
