package main

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const interval = 30 * time.Second

func at(committed, end int64) position {
	return position{Committed: committed, End: end, HasEnd: true}
}

// lags makes one partition per lag, committed at 100.
func lags(lags ...int64) []position {
	var positions []position
	for _, lag := range lags {
		positions = append(positions, at(100, 100+lag))
	}
	return positions
}

func stuck(p position) position {
	p.Unchanged = interval
	return p
}

func TestBacklog(t *testing.T) {
	tests := map[string]struct {
		params    lagParams
		positions []position
		total     int64
		waiting   int64
	}{
		"lag is end minus committed, over all partitions": {
			positions: lags(3, 4), total: 7, waiting: 7},
		"nothing behind": {positions: lags(0, 0)},
		"no commit under latest counts one each": {
			positions: []position{at(none, 50), at(none, 0)}, total: 2, waiting: 2},
		"no commit under latest needs no end": {
			positions: []position{{Committed: none}, at(0, 0)}, total: 1, waiting: 1},
		"no commit under latest can count nothing": {
			params:    lagParams{ScaleToZeroOnInvalidOffset: true},
			positions: []position{at(none, 50)}},
		"no commit under earliest counts the end offset": {
			params:    lagParams{OffsetResetPolicy: earliest, AllowIdleConsumers: true},
			positions: []position{at(none, 50)}, total: 50, waiting: 50},
		"no commit under earliest can count nothing": {
			params:    lagParams{OffsetResetPolicy: earliest, ScaleToZeroOnInvalidOffset: true},
			positions: []position{at(none, 50)}},
		"no commit under earliest without an end counts nothing": {
			params:    lagParams{OffsetResetPolicy: earliest},
			positions: []position{{Committed: none}}},
		"a partition left out of the end answer counts nothing": {
			positions: []position{{Committed: 5}, at(0, 4)}, total: 4, waiting: 4},
		"a left out partition is not among those capped at": {
			positions: []position{{Committed: 5}, at(0, 40)}, total: 10, waiting: 40},
		"negative lag hides none of the others": {
			positions: lags(-50, 3), total: 3, waiting: 3},
		"capped at one replica per partition": {
			positions: lags(100, 0), total: 20, waiting: 100},
		"the cap is exact": {
			positions: lags(25, 0), total: 20, waiting: 25},
		"idle consumers lift the cap": {
			params:    lagParams{AllowIdleConsumers: true},
			positions: lags(100, 0), total: 100, waiting: 100},
		"capped at partitions with lag": {
			params:    lagParams{LimitToPartitionsWithLag: true},
			positions: lags(100, 0, 3), total: 20, waiting: 103},
		"persistent lag is excluded and still activates": {
			params:    lagParams{ExcludePersistentLag: true},
			positions: []position{stuck(at(100, 105)), at(100, 103)}, total: 3, waiting: 8},
		"on first sight nothing is persistent": {
			params:    lagParams{ExcludePersistentLag: true},
			positions: lags(5), total: 5, waiting: 5},
		"two quick reads make nothing persistent": {
			params:    lagParams{ExcludePersistentLag: true},
			positions: []position{{Committed: 0, End: 5, HasEnd: true, Unchanged: time.Second}}, total: 5, waiting: 5},
		"persistent lag counts where it is not excluded": {
			positions: []position{stuck(at(100, 105))}, total: 5, waiting: 5},
		"even distribution takes the next divisor": {
			params:    lagParams{EnsureEvenDistributionOfPartitions: true},
			positions: lags(35, 0, 0, 0, 0, 0, 0, 0, 0, 0), total: 50, waiting: 35},
		"even distribution makes nothing one replica": {
			params:    lagParams{EnsureEvenDistributionOfPartitions: true},
			positions: lags(0, 0, 0), total: 10},
		"even distribution ends at the partitions": {
			params:    lagParams{EnsureEvenDistributionOfPartitions: true},
			positions: lags(900, 0, 0), total: 30, waiting: 900},
		"even distribution is capped even with idle consumers": {
			params:    lagParams{EnsureEvenDistributionOfPartitions: true, AllowIdleConsumers: true},
			positions: lags(900, 0), total: 20, waiting: 900},
		"no partition at all": {},
		"huge offsets do not wrap around": {
			params:    lagParams{AllowIdleConsumers: true},
			positions: []position{at(0, math.MaxInt64), at(0, math.MaxInt64)},
			total:     math.MaxInt64, waiting: math.MaxInt64},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			params := tt.params
			params.LagThreshold = 10
			if params.OffsetResetPolicy == "" {
				params.OffsetResetPolicy = latest
			}
			total, waiting := params.backlog(tt.positions, interval)
			if total != tt.total || waiting != tt.waiting {
				t.Errorf("backlog = %d, %d, want %d, %d", total, waiting, tt.total, tt.waiting)
			}
		})
	}
}

func anyPosition() *rapid.Generator[position] {
	return rapid.Custom(func(t *rapid.T) position {
		return position{
			Committed: rapid.Int64Range(none, math.MaxInt64).Draw(t, "committed"),
			End:       rapid.Int64Range(0, math.MaxInt64).Draw(t, "end"),
			HasEnd:    rapid.Bool().Draw(t, "has end"),
			Unchanged: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "unchanged")),
		}
	})
}

func anyLagParams() *rapid.Generator[lagParams] {
	return rapid.Custom(func(t *rapid.T) lagParams {
		return lagParams{
			LagThreshold:                       rapid.Int64Range(1, math.MaxInt64).Draw(t, "threshold"),
			OffsetResetPolicy:                  rapid.SampledFrom([]string{latest, earliest}).Draw(t, "policy"),
			ScaleToZeroOnInvalidOffset:         rapid.Bool().Draw(t, "to zero"),
			AllowIdleConsumers:                 rapid.Bool().Draw(t, "idle"),
			ExcludePersistentLag:               rapid.Bool().Draw(t, "exclude"),
			LimitToPartitionsWithLag:           rapid.Bool().Draw(t, "limit"),
			EnsureEvenDistributionOfPartitions: rapid.Bool().Draw(t, "even"),
		}
	})
}

func TestBacklogProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		params := anyLagParams().Draw(t, "params")
		positions := rapid.SliceOfN(anyPosition(), 0, 24).Draw(t, "positions")
		total, waiting := params.backlog(positions, interval)

		if total < 0 || waiting < 0 {
			t.Fatalf("negative: total %d, waiting %d", total, waiting)
		}
		if !params.EnsureEvenDistributionOfPartitions && total > waiting {
			t.Fatalf("total %d exceeds what waits, %d", total, waiting)
		}
		capped := !params.AllowIdleConsumers || params.LimitToPartitionsWithLag
		if most := times(int64(len(positions)), params.LagThreshold); capped && total > most {
			t.Fatalf("total %d is more than one replica per partition, %d", total, most)
		}
		params.AllowIdleConsumers = !params.AllowIdleConsumers
		params.LagThreshold = 1
		if _, again := params.backlog(positions, interval); again != waiting {
			t.Fatalf("waiting depends on the cap: %d, then %d", waiting, again)
		}
	})
}

func TestEvenShareDividesThePartitions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.Int64Range(1, 500).Draw(t, "partitions")
		total := rapid.Int64Range(0, 100_000).Draw(t, "total")
		threshold := rapid.Int64Range(1, 1000).Draw(t, "threshold")
		share := evenShare(total, partitions, threshold)
		if partitions%share != 0 {
			t.Fatalf("%d does not divide %d", share, partitions)
		}
		if share < partitions && share*threshold < total {
			t.Fatalf("%d replicas carry %d of %d", share, share*threshold, total)
		}
	})
}
