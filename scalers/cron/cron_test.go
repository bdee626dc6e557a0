package main

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// officeHours is a valid trigger.
func officeHours() map[string]string {
	return map[string]string{
		"timezone": "America/New_York", "start": "0 9 * * 1-5", "end": "0 18 * * 1-5", "desiredReplicas": "20",
	}
}

// cronAt is the trigger type at another time.
func cronAt(now time.Time) scaler.Trigger {
	return scaler.Define("cron", func(_ context.Context, p cronParams) (scaler.Source, error) {
		return openAt(p, func() time.Time { return now })
	}, scaler.Scheduled())
}

// cases has valid metadata of every type.
var cases = scalertest.Cases{}

func TestContract(t *testing.T) { cases.Contract(t, triggers) }

var _ = cases.Add("cron", func(testing.TB) scalertest.Case { return scalertest.Case{Metadata: officeHours()} })

// TestBusinessHours has office hours, nights and weekends of one workload. The
// autoscaler takes the largest.
func TestBusinessHours(t *testing.T) {
	triggers := []map[string]string{
		officeHours(),
		{"timezone": "America/New_York", "start": "0 18 * * 1-5", "end": "0 9 * * 1-5", "desiredReplicas": "5"},
		{"timezone": "America/New_York", "start": "0 0 * * 0,6", "end": "0 23 * * 0,6", "desiredReplicas": "3"},
	}
	tests := map[string]struct {
		now  string
		want [3]float64
	}{
		"a second before nine":   {"2026-07-01 08:59:59 -0400", [3]float64{0, 5, 0}},
		"at nine":                {"2026-07-01 09:00:00 -0400", [3]float64{20, 0, 0}},
		"a second before six":    {"2026-07-01 17:59:59 -0400", [3]float64{20, 0, 0}},
		"at six":                 {"2026-07-01 18:00:00 -0400", [3]float64{0, 5, 0}},
		"Saturday":               {"2026-07-04 12:00:00 -0400", [3]float64{0, 5, 3}},
		"Saturday late":          {"2026-07-04 23:00:00 -0400", [3]float64{0, 5, 0}},
		"in winter, an hour off": {"2026-01-07 09:00:00 -0500", [3]float64{20, 0, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			family := scalertest.Serve(t, cronAt(at(t, tt.now)))
			for i, metadata := range triggers {
				got, err := family.Observe(t.Context(), "cron", metadata)
				if err != nil {
					t.Fatal(err)
				}
				if want := (scalertest.Observation{Value: tt.want[i], Active: tt.want[i] > 0}); got != want {
					t.Errorf("trigger %d = %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

func TestMetricName(t *testing.T) {
	tests := map[string]struct {
		zone, start, end string
		want             string
	}{
		"slash of the zone":   {"Europe/Berlin", "0 8 * * *", "0 18 * * *", "cron-Europe-Berlin-08xxx-018xxx"},
		"steps":               {"UTC", "*/15 * * * *", "5/15 * * * *", "cron-UTC-xSl15xxxx-5Sl15xxxx"},
		"question marks":      {"UTC", "0 0 ? * MON", "0 1 ? * MON", "cron-UTC-00QmxMON-01QmxMON"},
		"commas":              {"UTC", "0 8,13 * * *", "0 12,17 * * *", "cron-UTC-08Cm13xxx-012Cm17xxx"},
		"hyphens stay":        {"America/New_York", "0 9 * * 1-5", "0 18 * * 1-5", "cron-America-New_York-09xx1-5-018xx1-5"},
		"a zone's own hyphen": {"Etc/GMT-2", "0 9 * * *", "0 18 * * *", "cron-Etc-GMT-2-09xxx-018xxx"},
		"a schedule's zone":   {"UTC", "TZ=Europe/Berlin 0 9 * * *", "0 18 * * *", "cron-UTC-TZ=EuropeSlBerlin09xxx-018xxx"},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			specs, err := family.Specs(t.Context(), "cron", map[string]string{
				"timezone": tt.zone, "start": tt.start, "end": tt.end, "desiredReplicas": "2",
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(specs) != 1 || specs[0].GetMetricName() != tt.want || specs[0].GetTargetSizeFloat() != 1 {
				t.Errorf("specs = %v, want %s with target 1", specs, tt.want)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	tests := map[string]struct {
		metadata map[string]string // on top of a valid trigger
		message  string
	}{
		"no zone":          {map[string]string{"timezone": ""}, "timezone: is required (looked in metadata)"},
		"unknown zone":     {map[string]string{"timezone": "Mars/Base"}, `timezone: "Mars/Base" is not a time zone of the IANA database`},
		"no start":         {map[string]string{"start": " "}, "start: is required (looked in metadata)"},
		"no end":           {map[string]string{"end": ""}, "end: is required (looked in metadata)"},
		"start and end":    {map[string]string{"end": "0 9 * * 1-5"}, "end: is the same as start"},
		"no replicas":      {map[string]string{"desiredReplicas": ""}, "desiredReplicas: is required (looked in metadata)"},
		"zero replicas":    {map[string]string{"desiredReplicas": "0"}, "desiredReplicas: 0 is not at least 1"},
		"negative":         {map[string]string{"desiredReplicas": "-3"}, "desiredReplicas: -3 is not at least 1"},
		"a fraction":       {map[string]string{"desiredReplicas": "2.5"}, `desiredReplicas: "2.5" is not an integer`},
		"four fields":      {map[string]string{"start": "0 9 * *"}, `start: "0 9 * *": expected exactly 5 fields, found 4: [0 9 * *]`},
		"seconds":          {map[string]string{"end": "0 0 18 * * *"}, `end: "0 0 18 * * *": expected exactly 5 fields, found 6: [0 0 18 * * *]`},
		"a descriptor":     {map[string]string{"start": "@daily"}, `start: "@daily": parser does not accept descriptors: @daily`},
		"Sunday as 7":      {map[string]string{"end": "0 18 * * 7"}, `end: "0 18 * * 7": end of range (7) above maximum (6): 7`},
		"Jenkins":          {map[string]string{"start": "H 9 * * *"}, `start: "H 9 * * *": failed to parse int from H: strconv.Atoi: parsing "H": invalid syntax`},
		"a zone's file":    {map[string]string{"timezone": "../../etc/passwd"}, `timezone: "../../etc/passwd" is not a time zone of the IANA database`},
		"an absolute file": {map[string]string{"start": "TZ=/etc/passwd 0 9 * * *"}, `start: "TZ=/etc/passwd 0 9 * * *": "/etc/passwd" is not a time zone of the IANA database`},
		"a long schedule":  {map[string]string{"start": strings.Repeat("1,", 100_000) + "1 9 * * *"}, "start: is longer than 1024 bytes"},
		"a large step":     {map[string]string{"start": "*/9223372036854775808 9 * * *"}, `start: "*/9223372036854775808 9 * * *": failed to parse int from 9223372036854775808: strconv.Atoi: parsing "9223372036854775808": value out of range`},
		"a step of zero":   {map[string]string{"start": "*/0 9 * * *"}, `start: "*/0 9 * * *": step of range should be a positive number: */0`},
		"never":            {map[string]string{"start": "0 0 30 2 *"}, `start: "0 0 30 2 *": names no day that exists`},
		"never ends":       {map[string]string{"end": "0 0 31 4,6 *"}, `end: "0 0 31 4,6 *": names no day that exists`},
		"unknown override": {map[string]string{"start": "TZ=Mars/Base 0 9 * * *"}, `start: "TZ=Mars/Base 0 9 * * *": "Mars/Base" is not a time zone of the IANA database`},
		"override alone":   {map[string]string{"start": "TZ=UTC"}, `start: "TZ=UTC": empty spec string`},
		"two overrides":    {map[string]string{"start": "TZ=UTC CRON_TZ=UTC"}, `start: "TZ=UTC CRON_TZ=UTC": has two time zones`},
		"all at once": {
			map[string]string{"timezone": "Mars/Base", "start": "x", "end": "0 25 * * *", "desiredReplicas": "0"},
			`desiredReplicas: 0 is not at least 1; timezone: "Mars/Base" is not a time zone of the IANA database; ` +
				`start: "x": expected exactly 5 fields, found 1: [x]; end: "0 25 * * *": end of range (25) above maximum (23): 25`,
		},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := officeHours()
			maps.Copy(metadata, tt.metadata)
			_, err := family.Specs(t.Context(), "cron", metadata)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "cron: "+tt.message {
				t.Errorf("error = %v, want %q", err, "cron: "+tt.message)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	never := "end: names the same times as start, so the window never closes"
	tests := map[string]struct {
		start, end string
		want       string
	}{
		"a step of one":               {"0 8 * * *", "0 8 */1 * *", never},
		"names of days":               {"0 8 * * MON-FRI", "0 8 ? * 1,2,3,4,5", never},
		"all days of the month":       {"0 8 * * *", "0 8 1-31 * *", never},
		"all hours":                   {"0 * * * *", "0 0-23 * * *", never},
		"a zone that is the same":     {"0 8 * * *", "TZ=UTC 0 8 * * *", never},
		"another zone":                {"0 8 * * *", "TZ=Asia/Tokyo 0 8 * * *", ""},
		"another hour":                {"0 8 * * *", "0 9 * * *", ""},
		"either day against one":      {"0 8 1-31 * MON", "0 8 * * MON", ""},
		"either day against every":    {"0 8 1-31 * MON", "0 8 * * *", never},
		"together on some days alone": {"0 8 * * *", "0 8 * * MON", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := cronParams{Timezone: "UTC", Start: tt.start, End: tt.end, DesiredReplicas: 1}
			if got := strings.Join(p.Warnings(), "\n"); got != tt.want {
				t.Errorf("warning = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestTheWindowTellsWhenItOpened has a source that is read late, over windows
// that nobody saw, and for the first time.
func TestTheWindowTellsWhenItOpened(t *testing.T) {
	type read struct{ at, opened string } // opened "" for nothing to tell
	tests := map[string][]read{
		"a second late":           {{"2026-07-01 07:59:59 +0000", ""}, {"2026-07-01 08:00:01 +0000", "2026-07-01 08:00:00 +0000"}},
		"to the second":           {{"2026-07-01 07:59:59 +0000", ""}, {"2026-07-01 08:00:00 +0000", "2026-07-01 08:00:00 +0000"}},
		"told once":               {{"2026-07-01 07:59:59 +0000", ""}, {"2026-07-01 08:00:00 +0000", "2026-07-01 08:00:00 +0000"}, {"2026-07-01 08:00:01 +0000", ""}},
		"the window of today":     {{"2026-06-29 07:00:00 +0000", ""}, {"2026-07-01 08:30:00 +0000", "2026-07-01 08:00:00 +0000"}},
		"an object that is late":  {{"2026-07-01 09:00:00 +0000", ""}},
		"the next day once again": {{"2026-07-01 09:00:00 +0000", ""}, {"2026-07-01 18:00:00 +0000", ""}, {"2026-07-02 08:00:00 +0000", "2026-07-02 08:00:00 +0000"}},
	}
	for name, reads := range tests {
		t.Run(name, func(t *testing.T) {
			var now time.Time
			source, err := openAt(cronParams{Timezone: "UTC", Start: "0 8 * * *", End: "0 18 * * *", DesiredReplicas: 3}, func() time.Time { return now })
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range reads {
				now = at(t, r.at)
				var want time.Time
				if r.opened != "" {
					want = at(t, r.opened)
				}
				readings, err := source.Read(t.Context())
				if err != nil || !readings[0].EventTime.Equal(want) {
					t.Errorf("at %s: opened at %s, %v, want %s", r.at, readings[0].EventTime, err, want)
				}
			}
		})
	}
}

// TestActiveToTheSecond: the interval is an hour, and the window is told at
// the instants at which it opens and closes. The clock is the bubble's, which
// begins at midnight UTC on 1 January 2000.
func TestActiveToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		family := scalertest.Serve(t, triggers...)
		watching := family.Watch(t, "cron", map[string]string{
			"timezone": "UTC", "start": "7 0 * * *", "end": "11 0 * * *", "desiredReplicas": "3",
		}, scalerv1.Mode_MODE_IDLE, time.Hour)
		midnight := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		expect := func(what string, satisfied func(*scalerv1.Observation) bool, after time.Duration) {
			t.Helper()
			if _, err := watching.Until(ctx, what, satisfied); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(midnight); got < after || got >= after+time.Second {
				t.Errorf("%s after %s, want %s", what, got, after)
			}
		}
		expect("closed", scalertest.Inactive, 0)
		expect("open", scalertest.Active, 7*time.Minute)
		expect("closed again", scalertest.Inactive, 11*time.Minute)
	})
}

// TestRareSchedules are those whose next time is far away, and those whose step
// leads far beyond the field.
func TestRareSchedules(t *testing.T) {
	for text, want := range map[string]string{
		"0 0 29 2 *":                        "2104-02-29 00:00:00 +0000", // 2100 is no leap year
		"59/9223372036854775807 23 31 12 *": "2097-12-31 23:59:00 +0000",
		"*/9223372036854775807 0 1 1 *":     "2098-01-01 00:00:00 +0000",
	} {
		s, err := parseSchedule(text, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.next(at(t, "2097-01-02 00:00:00 +0000")); !got.at.Equal(at(t, want)) {
			t.Errorf("%s: %s, want %s", text, got.at, want)
		}
	}
}
