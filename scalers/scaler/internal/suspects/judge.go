package suspects

import "time"

const (
	// lately is how long before the end an endpoint must have sent something, to
	// be suspect without being read.
	lately = time.Second
	// shortestPause and longestPause are how long a culprit is kept away from: at
	// first, and after it has been one again and again.
	shortestPause = 30 * time.Second
	longestPause  = time.Hour
	// forgiven is how long after the last time an endpoint is one like others.
	forgiven = 24 * time.Hour
)

// judge says who ended the process, of the endpoints that it left behind, and
// what is to be done with them. One that was tried alone is it, or the only one
// that was being read, or the only one that has been suspect before. Where it
// may have been any of several, each of them is tried alone.
func judge(known []*entry, now time.Time) (all []*entry) {
	var end int64
	for _, e := range known {
		end = max(end, e.heard.Load())
		if now.Sub(time.Unix(0, e.suspected.Load())) > forgiven {
			e.strikes.Store(0)
			e.times.Store(0)
		}
	}
	for _, e := range known {
		if e.alone.Load() == itWaits {
			continue // it was not even connected to
		}
		if e.reads.Load() > 0 || e.heard.Load() > 0 && end-e.heard.Load() < int64(lately) {
			all = append(all, e)
		}
	}
	if it := culprit(all); it != nil {
		it.strikes.Add(1)
		it.until.Store(now.Add(pause(it.strikes.Load())).UnixNano())
		it.alone.Store(itWaits)
		it.times.Add(1)
		it.suspected.Store(now.UnixNano())
		return []*entry{it}
	}
	for _, e := range all {
		e.alone.Store(itWaits)
		e.times.Add(1)
		e.suspected.Store(now.UnixNano())
	}
	return all
}

// culprit is the one among suspects that it must have been, or nil.
func culprit(all []*entry) *entry {
	for _, is := range []func(*entry) bool{
		func(e *entry) bool { return e.alone.Load() == itsTurn },
		func(e *entry) bool { return e.reads.Load() > 0 },
		func(e *entry) bool { return e.times.Load() > 0 },
		func(*entry) bool { return true },
	} {
		var found []*entry
		for _, e := range all {
			if is(e) {
				found = append(found, e)
			}
		}
		if len(found) == 1 {
			return found[0]
		}
	}
	return nil
}

// pause is how long a culprit is kept away from after so many times.
func pause(strikes int32) time.Duration {
	return min(shortestPause<<min(strikes-1, 10), longestPause)
}
