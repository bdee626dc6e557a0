package scalertest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// gauge is a backend that says "7" and a newline to whoever connects.
func gauge(t testing.TB) string {
	address, _ := gaugeThatStalls(t)
	return address
}

// gaugeThatStalls is a gauge, and says nothing any more after a call of stall.
func gaugeThatStalls(t testing.TB) (address string, stall func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var stalled atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if stalled.Load() {
				defer c.Close()
				continue
			}
			fmt.Fprintln(c, 7)
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String(), func() { stalled.Store(true) }
}

// gaugeParams is the metadata of a gauge trigger.
type gaugeParams struct {
	// Address is where the gauge listens.
	Address string `param:"address,required"`
	// Password is what the gauge would ask for.
	Password string `param:"password" from:"auth"`
	// Target is the level one replica should carry.
	Target float64 `param:"target" default:"5" role:"target"`
	// Activation is the activation threshold.
	Activation float64 `param:"activation" default:"0" role:"activation"`
}

func (p gaugeParams) Name() string { return "gauge" }

// gaugeSource is an honest source. The broken ones replace one of its methods.
type gaugeSource struct{ p gaugeParams }

func openGauge(_ context.Context, p gaugeParams) (scaler.Source, error) {
	return &gaugeSource{p}, nil
}

func (s *gaugeSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	level, err := s.level(ctx)
	if err != nil {
		return nil, fmt.Errorf("gauge %s: %w", s.p.Address, err)
	}
	return scaler.One(level), nil
}

func (s *gaugeSource) level(ctx context.Context) (float64, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.p.Address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	line, err := bufio.NewReader(c).ReadString('\n')
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(line), 64)
}

func (s *gaugeSource) Listen(ctx context.Context, listening, _ func()) error {
	listening()
	<-ctx.Done()
	return ctx.Err()
}

// findingSource relies on a Read before each call of Listen.
type findingSource struct {
	*gaugeSource
	found atomic.Bool
}

func (s *findingSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	readings, err := s.gaugeSource.Read(ctx)
	s.found.Store(err == nil)
	return readings, err
}

func (s *findingSource) Listen(ctx context.Context, listening, ring func()) error {
	if !s.found.Swap(false) {
		return errors.New("nothing was read since")
	}
	return s.gaugeSource.Listen(ctx, listening, ring)
}

// gaugeCase is the contract's case for a trigger that reads a gauge.
func gaugeCase(t testing.TB, trigger scaler.Trigger) scalertest.Case {
	return scalertest.Case{
		Trigger:  trigger,
		Metadata: map[string]string{"address": gauge(t)},
		Auth:     map[string]string{"password": "correct-horse"},
		Dead: func(t testing.TB) map[string]string {
			return map[string]string{"address": scalertest.DeadAddress(t)}
		},
		Stalled: func(t testing.TB) map[string]string {
			return map[string]string{"address": scalertest.StalledAddress(t)}
		},
		Parts: func(t testing.TB) (healthy, stalled map[string]string, stall func()) {
			address, stall := gaugeThatStalls(t)
			return map[string]string{"address": gauge(t)}, map[string]string{"address": address}, stall
		},
	}
}

func TestHonestSourceKeepsTheContract(t *testing.T) {
	for name, trigger := range map[string]scaler.Trigger{
		"read alone":    scaler.Define("gauge", openGauge, scaler.RingsAt("nothing")),
		"read together": batched(sideBySide),
		"listens where its last read found the gauge": scaler.Define("gauge", func(_ context.Context, p gaugeParams) (scaler.Source, error) {
			return &findingSource{gaugeSource: &gaugeSource{p}}, nil
		}, scaler.RingsAt("nothing")),
	} {
		t.Run(name, func(t *testing.T) { scalertest.Contract(t, gaugeCase(t, trigger)) })
	}
}

// brokenSource is an honest source but for the methods that are set.
type brokenSource struct {
	*gaugeSource
	read   func(context.Context) ([]scaler.Reading, error)
	close  func() error
	listen func(ctx context.Context, listening func()) error
}

func (s *brokenSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	if s.read != nil {
		return s.read(ctx)
	}
	return s.gaugeSource.Read(ctx)
}

func (s *brokenSource) Close() error {
	if s.close != nil {
		return s.close()
	}
	return nil
}

func (s *brokenSource) Listen(ctx context.Context, listening, ring func()) error {
	if s.listen != nil {
		return s.listen(ctx, listening)
	}
	return s.gaugeSource.Listen(ctx, listening, ring)
}

// lateSource is Timed, and its time has passed.
type lateSource struct{ *gaugeSource }

func (s *lateSource) Next(now time.Time) time.Time { return now.Add(-time.Second) }

// greedyParams makes the target part of the question.
type greedyParams struct {
	// Address is where the gauge listens.
	Address string `param:"address,required"`
	// Password is what the gauge would ask for.
	Password string `param:"password" from:"auth"`
	// Target is the level one replica should carry.
	Target float64 `param:"target" default:"5" role:"target" question:"true"`
}

func (p greedyParams) Metrics() []scaler.Metric {
	return []scaler.Metric{{Name: "gauge", Target: p.Target}}
}

// moodyParams names its metric anew each time.
type moodyParams struct{ gaugeParams }

var moods atomic.Int64

func (p moodyParams) Metrics() []scaler.Metric {
	return []scaler.Metric{{Name: fmt.Sprint("gauge-", moods.Add(1)), Target: p.Target}}
}

// together is a source that is read in batches.
type together struct {
	*gaugeSource
	batch *batch
}

func (s *together) Batch() scaler.Batch { return s.batch }

// batch reads its members by a function.
type batch struct {
	read func(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error
}

func (b *batch) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	return b.read(ctx, sources, answer)
}

func resultOf(ctx context.Context, source scaler.Source) scaler.Result {
	readings, err := source.Read(ctx)
	return scaler.Result{Readings: readings, Err: err}
}

// sideBySide is honest.
var sideBySide = &batch{func(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	var reading sync.WaitGroup
	for i, source := range sources {
		reading.Go(func() { answer(i, resultOf(ctx, source)) })
	}
	reading.Wait()
	return nil
}}

// oneByOne has the others wait for a part that stalls.
var oneByOne = &batch{func(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	for i, source := range sources {
		answer(i, resultOf(ctx, source))
	}
	return nil
}}

// allAtLast has the answers wait for a part that stalls.
var allAtLast = &batch{func(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	results := scaler.ReadTogether(ctx, sideBySide, sources...)
	for i, result := range results {
		answer(i, result)
	}
	return nil
}}

// overwriting blames all for a part that stalls.
var overwriting = &batch{func(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	results := scaler.ReadTogether(ctx, sideBySide, sources...)
	for _, result := range results {
		if result.Err != nil {
			return result.Err
		}
	}
	for i, result := range results {
		answer(i, result)
	}
	return nil
}}

// losing loses members.
var losing = &batch{func(_ context.Context, _ []scaler.Source, answer func(int, scaler.Result)) error {
	answer(0, scaler.Result{Readings: scaler.One(1)})
	return nil
}}

func batched(b *batch) scaler.Trigger {
	return scaler.Define("gauge", func(_ context.Context, p gaugeParams) (scaler.Source, error) {
		return &together{&gaugeSource{p}, b}, nil
	}, scaler.RingsAt("nothing"))
}

func TestBrokenSourcesAreRejected(t *testing.T) {
	// release ends what the broken sources leave behind.
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })

	breaking := func(change func(*brokenSource)) scaler.Trigger {
		return scaler.Define("gauge", func(_ context.Context, p gaugeParams) (scaler.Source, error) {
			s := &brokenSource{gaugeSource: &gaugeSource{p}}
			change(s)
			return s, nil
		}, scaler.RingsAt("nothing"))
	}
	tests := map[string]struct {
		trigger scaler.Trigger
		rule    string
	}{
		"guesses zero when the backend is down": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					level, _ := s.level(ctx)
					return scaler.One(level), nil
				}
			}),
			"a dead backend is an error",
		},
		"takes a dead backend for one without data": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					level, err := s.level(ctx)
					if err != nil {
						return nil, scaler.ErrNoData
					}
					return scaler.One(level), nil
				}
			}),
			"a dead backend is not an empty answer",
		},
		"blames itself for a dead backend": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					level, err := s.level(ctx)
					if err != nil {
						return nil, status.Error(codes.Internal, "oops")
					}
					return scaler.One(level), nil
				}
			}),
			"a dead backend is an error",
		},
		"does not heed a cancelled context": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					if errors.Is(ctx.Err(), context.Canceled) {
						<-release
					}
					return s.gaugeSource.Read(ctx)
				}
			}),
			"a cancelled read returns",
		},
		"does not heed its deadline": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					readings, err := s.gaugeSource.Read(ctx)
					if errors.Is(err, context.DeadlineExceeded) {
						<-release
					}
					return readings, err
				}
			}),
			"a stalled backend returns within the deadline",
		},
		"leaves a goroutine behind": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					go func() { <-release }()
					return s.gaugeSource.Read(ctx)
				}
			}),
			"nothing is left after close",
		},
		"forgets one of its metrics": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					_, err := s.gaugeSource.Read(ctx)
					return nil, err
				}
			}),
			"a read answers for every metric",
		},
		"can be read only once": {
			breaking(func(s *brokenSource) {
				var reads atomic.Int64
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					if reads.Add(1) > 1 {
						return nil, errors.New("gauge: already closed")
					}
					return s.gaugeSource.Read(ctx)
				}
			}),
			"a read can be repeated",
		},
		"shows the password": {
			breaking(func(s *brokenSource) {
				s.read = func(ctx context.Context) ([]scaler.Reading, error) {
					readings, err := s.gaugeSource.Read(ctx)
					if err != nil {
						return nil, fmt.Errorf("gauge://admin:%s@%s: %w", s.p.Password, s.p.Address, err)
					}
					return readings, nil
				}
			}),
			"a secret is in no error",
		},
		"panics when closed again": {
			breaking(func(s *brokenSource) {
				done := make(chan struct{})
				s.close = func() error {
					close(done)
					return nil
				}
			}),
			"close may come again",
		},
		"can be listened to only once": {
			breaking(func(s *brokenSource) {
				var listens atomic.Int64
				s.listen = func(ctx context.Context, listening func()) error {
					if listens.Add(1) > 1 {
						return errors.New("gauge: listened to already")
					}
					return s.gaugeSource.Listen(ctx, listening, nil)
				}
			}),
			"listening follows a read",
		},
		"listens for ever": {
			breaking(func(s *brokenSource) {
				s.listen = func(_ context.Context, listening func()) error {
					listening()
					<-release
					return nil
				}
			}),
			"listening ends with its context",
		},
		"knows the past better than the future": {
			scaler.Define("gauge", func(_ context.Context, p gaugeParams) (scaler.Source, error) {
				return &lateSource{&gaugeSource{p}}, nil
			}),
			"the next change lies ahead",
		},
		"loses a member of its batch":               {batched(losing), "a batch answers as a read does"},
		"reads its batch one by one":                {batched(oneByOne), "a stalled part fails itself alone"},
		"answers when all of its batch is answered": {batched(allAtLast), "a stalled part fails itself alone"},
		"blames its batch for one part":             {batched(overwriting), "a stalled part fails itself alone"},
		"asks another question for another target": {
			scaler.Define("gauge", func(_ context.Context, p greedyParams) (scaler.Source, error) {
				return &gaugeSource{gaugeParams{Address: p.Address}}, nil
			}),
			"a target is not part of the question",
		},
		"names its metric anew each time": {
			scaler.Define("gauge", func(_ context.Context, p moodyParams) (scaler.Source, error) {
				return &gaugeSource{p.gaugeParams}, nil
			}),
			"metrics need no source",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			broken := scalertest.Violations(t, gaugeCase(t, tt.trigger), tt.rule)
			if broken[tt.rule] == nil {
				t.Errorf("accepted by the rule %q", tt.rule)
			}
		})
	}
}

func TestBatchesSayWhatCanStall(t *testing.T) {
	c := gaugeCase(t, batched(sideBySide))
	c.Parts = nil
	const rule = "a stalled part fails itself alone"
	if scalertest.Violations(t, c, rule)[rule] == nil {
		t.Error("a case that says nothing about its batch is accepted")
	}
	c.OnePart = "the gauges are one"
	if err := scalertest.Violations(t, c, rule)[rule]; err != nil {
		t.Error(err)
	}
}
