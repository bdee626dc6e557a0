package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	robfig "github.com/robfig/cron/v3"
)

// schedule is a cron expression in a time zone.
type schedule struct {
	zone string
	loc  *time.Location
	// fields match what the clock on the wall reads. They are asked in UTC,
	// where no hour is skipped or repeated.
	fields *robfig.SpecSchedule
}

// occurrence is one time at which a schedule fires.
type occurrence struct {
	at time.Time
	// wall is what the clock on the wall reads then, as if it were in UTC. In
	// an hour that the clock skips it is what the clock would have read.
	wall time.Time
}

// fiveFields has neither seconds nor descriptors such as @daily.
var fiveFields = robfig.NewParser(robfig.Minute | robfig.Hour | robfig.Dom | robfig.Month | robfig.Dow)

// loadZone knows the names of the IANA database. With an error it returns UTC,
// so that whatever else is wrong can be told too.
func loadZone(name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" { // which Go takes for UTC
		return time.UTC, fmt.Errorf("%q is not a time zone of the IANA database", name)
	}
	return loc, nil
}

// longestSchedule has room for every value of every field.
const longestSchedule = 1024

// parseSchedule understands a cron expression. A TZ= or CRON_TZ= before it
// overrides zone.
func parseSchedule(text string, zone *time.Location) (schedule, error) {
	if len(text) > longestSchedule {
		return schedule{}, fmt.Errorf("is longer than %d bytes", longestSchedule)
	}
	fields := strings.TrimSpace(text)
	for _, prefix := range []string{"TZ=", "CRON_TZ="} {
		override, found := strings.CutPrefix(fields, prefix)
		if !found {
			continue
		}
		var name string
		var err error
		name, fields, _ = strings.Cut(override, " ")
		if zone, err = loadZone(name); err != nil {
			return schedule{}, fmt.Errorf("%q: %w", text, err)
		}
		break
	}
	if strings.Contains(fields, "TZ=") {
		// The parser knows the prefix too, and panics when nothing follows.
		return schedule{}, fmt.Errorf("%q: has two time zones", text)
	}
	parsed, err := fiveFields.Parse(fields)
	if err != nil {
		return schedule{}, fmt.Errorf("%q: %w", text, err)
	}
	spec, ok := parsed.(*robfig.SpecSchedule)
	if !ok {
		return schedule{}, fmt.Errorf("%q: %w", text, errors.ErrUnsupported)
	}
	spec.Location = time.UTC
	s := schedule{zone: zone.String(), loc: zone, fields: spec}
	if s.never() {
		return schedule{}, fmt.Errorf("%q: names no day that exists", text)
	}
	return s, nil
}

// never reports whether the schedule has no occurrence, such as on 30
// February. The year to begin with is a leap year.
func (s schedule) never() bool {
	return s.fields.Next(time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero()
}

// next returns the first occurrence after now.
//
// When the clock is put back, an occurrence in the repeated hour comes twice,
// as in KEDA. When it is put forward, one in the skipped hour comes at the
// moment of the change. KEDA leaves it out instead, and a window that would
// have begun then is open for the whole day before.
func (s schedule) next(now time.Time) occurrence {
	t := now.In(s.loc)
	_, offset := t.Zone()
	after := wallOf(t, offset)
	for {
		change := boundOf(t)
		wall := s.match(after)
		at := wall.Add(-seconds(offset)).In(s.loc)
		if change.IsZero() || at.Before(change) {
			return occurrence{at: at, wall: wall}
		}
		t = change
		_, offset = t.Zone()
		begin := wallOf(t, offset)
		if wall.Before(begin) { // between what the clock read before and after
			return occurrence{at: t, wall: wall}
		}
		after = begin.Add(-time.Nanosecond) // the moment of the change counts
	}
}

// boundOf is until when the offset of t holds at least; zero stands for ever.
func boundOf(t time.Time) time.Time {
	_, change := t.ZoneBounds()
	if !change.IsZero() && !change.After(t) {
		// The standard library takes all years after 2037 for 365 days long,
		// so on the last day of a leap year it does not look ahead.
		return t.Add(24 * time.Hour)
	}
	return change
}

// match returns the first wall time after another that the fields name.
func (s schedule) match(after time.Time) time.Time {
	next := s.fields.Next(after)
	if next.IsZero() {
		// The library looks five years ahead. Around 2100, which is no leap
		// year, 29 February is eight years away.
		next = s.fields.Next(after.AddDate(4, 0, 0))
	}
	return next
}

// wallOf is what the clock on the wall reads at t, as if it were in UTC.
func wallOf(t time.Time, offset int) time.Time { return t.UTC().Add(seconds(offset)) }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// equals reports whether two schedules name the same times, however they are
// written.
func (s schedule) equals(other schedule) bool {
	return s.zone == other.zone &&
		values(s.fields.Minute) == values(other.fields.Minute) &&
		values(s.fields.Hour) == values(other.fields.Hour) &&
		values(s.fields.Month) == values(other.fields.Month) &&
		s.days() == other.days()
}

// values are the values of a field without the library's mark that it was
// written as a star.
func values(bits uint64) uint64 { return bits & (1<<60 - 1) }

// days tells for each day of month and of week whether they match together:
// when both fields are restricted, either is enough.
func (s schedule) days() (matching [32][7]bool) {
	star := func(bits uint64) bool { return bits>>63 == 1 }
	for day := 1; day < len(matching); day++ {
		for weekday := range matching[day] {
			dom := s.fields.Dom>>day&1 == 1
			dow := s.fields.Dow>>weekday&1 == 1
			if star(s.fields.Dom) || star(s.fields.Dow) {
				matching[day][weekday] = dom && dow
			} else {
				matching[day][weekday] = dom || dow
			}
		}
	}
	return matching
}
