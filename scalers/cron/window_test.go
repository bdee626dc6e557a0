package main

import (
	"testing"
	"time"

	robfig "github.com/robfig/cron/v3"
)

// windowOf is the window of a trigger with these schedules.
func windowOf(t *testing.T, zone, start, end string) window {
	t.Helper()
	w, err := cronParams{Timezone: zone, Start: start, End: end, DesiredReplicas: 1}.window()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// at reads "2026-03-29 01:59:59 +0100".
func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse("2006-01-02 15:04:05 -0700", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// change is a moment at which a window opens or closes.
type change struct {
	at   string
	open bool
}

// TestWindow walks from change to change, each to the second: it is what it
// was until the second before, and nothing changes between two.
func TestWindow(t *testing.T) {
	tests := map[string]struct {
		zone, start, end string
		from             string
		open             bool // at from
		changes          []change
		until            string
	}{
		"within a day": {
			zone: "UTC", start: "0 8 * * *", end: "30 17 * * *",
			from: "2026-07-01 00:00:00 +0000", until: "2026-07-03 00:00:00 +0000",
			changes: []change{
				{"2026-07-01 08:00:00 +0000", true}, {"2026-07-01 17:30:00 +0000", false},
				{"2026-07-02 08:00:00 +0000", true}, {"2026-07-02 17:30:00 +0000", false},
			},
		},
		"over midnight": {
			zone: "America/New_York", start: "0 22 * * *", end: "0 6 * * *",
			from: "2026-07-01 12:00:00 -0400", until: "2026-07-02 12:00:00 -0400",
			changes: []change{{"2026-07-01 22:00:00 -0400", true}, {"2026-07-02 06:00:00 -0400", false}},
		},
		"over a weekend": {
			zone: "Europe/Berlin", start: "0 18 * * FRI", end: "0 6 * * MON",
			from: "2026-07-01 00:00:00 +0200", until: "2026-07-10 00:00:00 +0200",
			changes: []change{{"2026-07-03 18:00:00 +0200", true}, {"2026-07-06 06:00:00 +0200", false}},
		},
		"several a day": {
			zone: "UTC", start: "0 8,13 * * *", end: "0 12,17 * * *",
			from: "2026-07-01 00:00:00 +0000", until: "2026-07-02 00:00:00 +0000",
			changes: []change{
				{"2026-07-01 08:00:00 +0000", true}, {"2026-07-01 12:00:00 +0000", false},
				{"2026-07-01 13:00:00 +0000", true}, {"2026-07-01 17:00:00 +0000", false},
			},
		},
		"part of each hour": {
			zone: "UTC", start: "0-45/15 * * * *", end: "5-50/15 * * * *",
			from: "2026-07-01 00:06:00 +0000", until: "2026-07-01 00:31:00 +0000",
			changes: []change{
				{"2026-07-01 00:15:00 +0000", true}, {"2026-07-01 00:20:00 +0000", false},
				{"2026-07-01 00:30:00 +0000", true},
			},
		},
		"either day field is enough": {
			zone: "UTC", start: "0 0 13 * FRI", end: "0 1 13 * FRI",
			from: "2026-07-09 12:00:00 +0000", until: "2026-07-14 00:00:00 +0000",
			changes: []change{
				{"2026-07-10 00:00:00 +0000", true}, {"2026-07-10 01:00:00 +0000", false},
				{"2026-07-13 00:00:00 +0000", true}, {"2026-07-13 01:00:00 +0000", false},
			},
		},
		// Two starts follow each other: the next boundary after the first is
		// not an end. KEDA has it so.
		"a start before another start opens nothing": {
			zone: "UTC", start: "0 8,9 * * *", end: "0 10 * * *",
			from: "2026-07-01 00:00:00 +0000", until: "2026-07-02 00:00:00 +0000",
			changes: []change{{"2026-07-01 09:00:00 +0000", true}, {"2026-07-01 10:00:00 +0000", false}},
		},
		// On Sundays both boundaries come at midnight, and together they are
		// inside: from Saturday's end on.
		"start and end together are inside": {
			zone: "UTC", start: "0 0 * * *", end: "0 12 * * 1-6",
			from: "2026-07-04 06:00:00 +0000", open: true, until: "2026-07-06 18:00:00 +0000",
			changes: []change{
				{"2026-07-04 12:00:00 +0000", false}, {"2026-07-06 00:00:00 +0000", true},
				{"2026-07-06 12:00:00 +0000", false},
			},
		},
		"never closed when both always come together": {
			zone: "UTC", start: "0 8 * * *", end: "0 8 */1 * *",
			from: "2026-07-01 00:00:00 +0000", open: true, until: "2026-07-04 00:00:00 +0000",
		},
		"a schedule's own zone": {
			zone: "Europe/Berlin", start: "CRON_TZ=America/New_York 0 9 * * *", end: "0 18 * * *",
			from: "2026-07-01 00:00:00 +0200", until: "2026-07-02 00:00:00 +0200",
			changes: []change{{"2026-07-01 15:00:00 +0200", true}, {"2026-07-01 18:00:00 +0200", false}},
		},

		// The clock is put forward: 02:00 CET becomes 03:00 CEST.
		"spring, Berlin: over the change": {
			zone: "Europe/Berlin", start: "0 1 * * *", end: "0 4 * * *",
			from: "2026-03-29 00:00:00 +0100", until: "2026-03-30 00:00:00 +0200",
			changes: []change{{"2026-03-29 01:00:00 +0100", true}, {"2026-03-29 04:00:00 +0200", false}},
		},
		"spring, Berlin: a start that is skipped comes at the change": {
			zone: "Europe/Berlin", start: "30 2 * * *", end: "0 4 * * *",
			from: "2026-03-28 00:00:00 +0100", until: "2026-03-30 12:00:00 +0200",
			changes: []change{
				{"2026-03-28 02:30:00 +0100", true}, {"2026-03-28 04:00:00 +0100", false},
				{"2026-03-29 03:00:00 +0200", true}, {"2026-03-29 04:00:00 +0200", false},
				{"2026-03-30 02:30:00 +0200", true}, {"2026-03-30 04:00:00 +0200", false},
			},
		},
		"spring, New York: an end that is skipped comes at the change": {
			zone: "America/New_York", start: "0 1 * * *", end: "30 2 * * *",
			from: "2026-03-08 00:00:00 -0500", until: "2026-03-09 12:00:00 -0400",
			changes: []change{
				{"2026-03-08 01:00:00 -0500", true}, {"2026-03-08 03:00:00 -0400", false},
				{"2026-03-09 01:00:00 -0400", true}, {"2026-03-09 02:30:00 -0400", false},
			},
		},
		"spring, Berlin: a window that is skipped is lost": {
			zone: "Europe/Berlin", start: "15 2 * * *", end: "45 2 * * *",
			from: "2026-03-28 12:00:00 +0100", until: "2026-03-30 12:00:00 +0200",
			changes: []change{{"2026-03-30 02:15:00 +0200", true}, {"2026-03-30 02:45:00 +0200", false}},
		},
		"spring, Berlin: one that was to begin when the skipped hour ends": {
			zone: "Europe/Berlin", start: "0 3 * * *", end: "0 4 * * *",
			from: "2026-03-29 00:00:00 +0100", until: "2026-03-29 12:00:00 +0200",
			changes: []change{{"2026-03-29 03:00:00 +0200", true}, {"2026-03-29 04:00:00 +0200", false}},
		},
		// There is no midnight: 24 April 00:00 becomes 01:00.
		"spring, Cairo: a day without midnight": {
			zone: "Africa/Cairo", start: "0 0 * * *", end: "0 12 * * *",
			from: "2026-04-23 18:00:00 +0200", until: "2026-04-24 18:00:00 +0300",
			changes: []change{{"2026-04-24 01:00:00 +0300", true}, {"2026-04-24 12:00:00 +0300", false}},
		},

		// The clock is put back: 03:00 CEST becomes 02:00 CET.
		"autumn, Berlin: over the change": {
			zone: "Europe/Berlin", start: "0 1 * * *", end: "0 4 * * *",
			from: "2026-10-25 00:00:00 +0200", until: "2026-10-26 00:00:00 +0100",
			changes: []change{{"2026-10-25 01:00:00 +0200", true}, {"2026-10-25 04:00:00 +0100", false}},
		},
		"autumn, Berlin: a start in the repeated hour is its last": {
			zone: "Europe/Berlin", start: "30 2 * * *", end: "0 4 * * *",
			from: "2026-10-25 00:00:00 +0200", until: "2026-10-26 00:00:00 +0100",
			changes: []change{{"2026-10-25 02:30:00 +0100", true}, {"2026-10-25 04:00:00 +0100", false}},
		},
		"autumn, New York: an end in the repeated hour is its last": {
			zone: "America/New_York", start: "0 0 * * *", end: "30 1 * * *",
			from: "2026-10-31 12:00:00 -0400", until: "2026-11-01 12:00:00 -0500",
			changes: []change{{"2026-11-01 00:00:00 -0400", true}, {"2026-11-01 01:30:00 -0500", false}},
		},
		"autumn, Berlin: a window in the repeated hour comes twice": {
			zone: "Europe/Berlin", start: "15 2 * * *", end: "45 2 * * *",
			from: "2026-10-25 00:00:00 +0200", until: "2026-10-26 00:00:00 +0100",
			changes: []change{
				{"2026-10-25 02:15:00 +0200", true}, {"2026-10-25 02:45:00 +0200", false},
				{"2026-10-25 02:15:00 +0100", true}, {"2026-10-25 02:45:00 +0100", false},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := windowOf(t, tt.zone, tt.start, tt.end)
			zone, err := loadZone(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			now, until := at(t, tt.from), at(t, tt.until)
			if got := w.open(now); got != tt.open {
				t.Fatalf("at %s open = %v, want %v", now, got, tt.open)
			}
			open := tt.open
			var changes []change
			for {
				next := w.next(now)
				if !next.After(now) {
					t.Fatalf("after %s comes %s", now, next)
				}
				if w.open(next.Add(-time.Second)) != open {
					t.Fatalf("changed before %s", next)
				}
				if now = next; !now.Before(until) {
					break
				}
				if w.open(now) != open {
					open = !open
					changes = append(changes, change{now.In(zone).Format("2006-01-02 15:04:05 -0700"), open})
				}
			}
			if len(changes) != len(tt.changes) {
				t.Fatalf("changes = %v, want %v", changes, tt.changes)
			}
			for i := range changes {
				if changes[i] != tt.changes[i] {
					t.Errorf("change %d = %v, want %v", i, changes[i], tt.changes[i])
				}
			}
		})
	}
}

// TestScheduleAgreesWithTheLibrary: where no hour is skipped, occurrences are
// those of the library that KEDA uses.
func TestScheduleAgreesWithTheLibrary(t *testing.T) {
	expressions := []string{"*/7 * * * *", "30 2 * * *", "0 0 1 * *", "15 1,2,3 * * 0", "0 12 29 2 *", "59 23 31 12 ?"}
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"} {
		for _, expression := range expressions {
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := parseSchedule(expression, loc)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := fiveFields.Parse("TZ=" + zone + " " + expression)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, zone+" "+expression, ours, theirs)
		}
	}
}

func agree(t *testing.T, name string, ours schedule, theirs robfig.Schedule) {
	t.Helper()
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for range 2000 {
		if now.Year() > 2048 {
			return
		}
		got := ours.next(now)
		if _, skipped := gapAt(got); skipped {
			now = got.at
			continue
		}
		want := theirs.Next(got.at.Add(-time.Second))
		if !got.at.Equal(want) {
			t.Errorf("%s: after %s comes %s, want %s", name, now, got.at, want)
			return
		}
		now = got.at
	}
}

// gapAt reports whether an occurrence stands for one in an hour that the clock
// skips.
func gapAt(o occurrence) (wall time.Time, skipped bool) {
	_, offset := o.at.Zone()
	wall = wallOf(o.at, offset)
	return wall, !wall.Equal(o.wall)
}

func TestScheduleBeyondTheLibrarysHorizon(t *testing.T) {
	s, err := parseSchedule("0 0 29 2 *", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	got := s.next(time.Date(2097, time.January, 1, 0, 0, 0, 0, time.UTC)).at
	if want := time.Date(2104, time.February, 29, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("next = %s, want %s", got, want)
	}
}
