package alerts

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// cases are what each alert fires on: series with a sample a minute, in the
// notation of promtool's tests ("1x9" is 1 ten times over, "_" none, "0+2x3" rises).
var cases = map[string][]firing{
	"SluiceFamilyDown": {{
		// The adapter and the standby see it, too; the other family is well.
		series: `
sluice_family_instances{pod="controller-1",type="kafka",family="kafka",state="ready"} 2x9 0x14 1x20
sluice_family_instances{pod="controller-1",type="kafka",family="kafka",state="down"} 0x9 2x14 0x20
sluice_family_instances{pod="adapter-1",type="kafka",family="kafka",state="ready"} 2x9 0x14 1x20
sluice_family_instances{pod="controller-1",type="cron",family="cron",state="ready"} 2x45
sluice_family_subscriptions{pod="controller-1",type="kafka"} 7x45
sluice_family_subscriptions{pod="controller-1",type="cron"} 1x45`,
		quiet: 14, fires: 15, over: 25, says: "type kafka",
	}, {
		// Nobody needs it.
		series: `
sluice_family_instances{pod="controller-1",type="kafka",family="kafka",state="ready"} 0x45
sluice_family_subscriptions{pod="controller-1",type="kafka"} 0x45`,
		quiet: 45,
	}, {
		// One of two viewers does not reach it: its objects tell, this does not.
		series: `
sluice_family_instances{pod="controller-1",type="kafka",family="kafka",state="ready"} 2x45
sluice_family_instances{pod="adapter-1",type="kafka",family="kafka",state="ready"} 0x45
sluice_family_subscriptions{pod="controller-1",type="kafka"} 7x45`,
		quiet: 45,
	}},
	"SluiceNotAsked": {{
		series: `
sluice_registered{pod="controller-1",what="metrics"} 1x9 0x10 1x20
sluice_registered{pod="controller-1",what="webhook"} 1x45`,
		quiet: 14, fires: 15, over: 21, says: "(metrics)",
	}},
	"SluiceAdapterCannotAnswer": {{
		series: `
apiserver_request_total{pod="adapter-1",group="external.metrics.k8s.io",code="200"} 0+10x9 90x19 90+10x20
apiserver_request_total{pod="adapter-1",group="external.metrics.k8s.io",code="500"} 0x9 0+10x19 190x20
apiserver_request_total{pod="apiserver",group="apps",code="500"} 0+900x50`,
		quiet: 14, fires: 25, over: 36, says: "HPAs get no external metrics",
	}, {
		// It is gone, and comes back.
		series: `
metrics_apiserver_metric_freshness_seconds_count{pod="adapter-1",group="external.metrics.k8s.io"} 0+5x9 _x20
metrics_apiserver_metric_freshness_seconds_count{pod="adapter-2",group="external.metrics.k8s.io"} _x30 0+5x9`,
		quiet: 14, fires: 28, over: 31,
	}, {
		// It is gone for good: after an hour nobody knows of it.
		series: `metrics_apiserver_metric_freshness_seconds_count{pod="adapter-1",group="external.metrics.k8s.io"} 0+5x9 _x80`,
		quiet:  14, fires: 28, over: 75,
	}, {
		// A few fail, of objects whose source is down.
		series: `
apiserver_request_total{pod="adapter-1",group="external.metrics.k8s.io",code="200"} 0+10x45
apiserver_request_total{pod="adapter-1",group="external.metrics.k8s.io",code="500"} 0+9x45`,
		quiet: 45,
	}},
	"SluiceTriggerFailing": {{
		// Prometheus keeps the label of the Pod.
		series: `
keda_scaler_detail_errors_total{namespace="sluice-system",exported_namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",metric="s0-lag",type="scaledobject",pod="controller-1"} 0x9 0+2x20 40x40
keda_scaler_detail_errors_total{namespace="sluice-system",exported_namespace="shop",scaledObject="other",scaler="kafkaScaler",triggerIndex="0",metric="s0-lag",type="scaledobject",pod="controller-1"} 3x80`,
		quiet: 24, fires: 27, over: 41, says: "scaledobject shop/worker",
	}, {
		// There is no other label than that of the object.
		series: `keda_scaler_detail_errors_total{namespace="shop",scaledObject="nightly",scaler="kafkaScaler",triggerIndex="0",metric="",type="scaledjob"} 0x9 0+1x20 20x40`,
		quiet:  24, fires: 27, over: 41, says: "scaledjob shop/nightly",
	}, {
		// One failure is none to be woken for.
		series: `keda_scaler_detail_errors_total{namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",metric="s0-lag",type="scaledobject"} 0x9 1x60`,
		quiet:  60,
	}},
	"SluiceReadingsOld": {{
		series: `
sluice_trigger_overdue_seconds{namespace="sluice-system",exported_namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject",pod="controller-1"} 0x9 10+60x10 0x20
sluice_trigger_overdue_seconds{namespace="sluice-system",exported_namespace="shop",scaledObject="worker",scaler="cronScaler",triggerIndex="1",type="scaledobject",pod="controller-1"} 0x45`,
		quiet: 14, fires: 15, over: 21, says: "trigger 0 (kafkaScaler) of scaledobject shop/worker for 5m 10s more",
	}, {
		// Now and then a beat is late.
		series: `sluice_trigger_overdue_seconds{namespace="shop",scaledObject="worker",scaler="kafkaScaler",triggerIndex="0",type="scaledobject"} 0x3 4x2 0x3 9x1 0x20`,
		quiet:  30,
	}},
	"SluiceObjectAtMaximum": {{
		// The lead changes in between.
		series: `
sluice_scaled_object_at_maximum{namespace="shop",scaledObject="worker",pod="controller-1"} 0x9 1x30 _x100
sluice_scaled_object_at_maximum{namespace="shop",scaledObject="worker",pod="controller-2"} _x40 1x60 0x20
sluice_scaled_object_at_maximum{namespace="shop",scaledObject="other",pod="controller-1"} 0x120`,
		quiet: 69, fires: 70, over: 103, says: "shop/worker",
	}},
	"SluiceJobsFailing": {{
		series: `
sluice_scaled_job_failures_in_a_row{namespace="sluice-system",exported_namespace="shop",scaledJob="nightly",pod="controller-1"} 0x4 1+1x6 0x20
sluice_scaled_job_failures_in_a_row{namespace="sluice-system",exported_namespace="shop",scaledJob="hourly",pod="controller-1"} 4x40`,
		quiet: 8, fires: 9, over: 12, says: "The last 5 Jobs of ScaledJob shop/nightly",
	}},
	"SluiceCertificateNearItsEnd": {{
		series: `
sluice_certificate_life_left_ratio{namespace="sluice-system",pod="scaler-kafka-1",instance="10.0.0.1:8080"} 0.33x9 0.19-0.001x20 1x20
sluice_certificate_life_left_ratio{namespace="sluice-system",pod="controller-1",instance="10.0.0.2:8080"} 0.34x50`,
		quiet: 19, fires: 20, over: 31, says: "scaler-kafka-1",
	}, {
		// It is renewed in time.
		series: `sluice_certificate_life_left_ratio{pod="scaler-kafka-1"} 1-0.05x13 1-0.05x13`,
		quiet:  27,
	}},
	"SluiceLeaseFlapping": {{
		series: `
leader_election_master_status{pod="controller-1",name="operator.keda.sh"} 1x9 0x4 1x4 0x4 1x100
leader_election_master_status{pod="controller-2",name="operator.keda.sh"} 0x9 1x4 0x4 1x4 0x100`,
		quiet: 14, fires: 25, over: 90, says: "operator.keda.sh",
	}, {
		// A rollout.
		series: `
leader_election_master_status{pod="controller-1",name="operator.keda.sh"} 1x9 0x90
leader_election_master_status{pod="controller-2",name="operator.keda.sh"} 0x9 1x20 0x70
leader_election_master_status{pod="controller-3",name="operator.keda.sh"} _x30 0x2 1x70`,
		quiet: 90,
	}},
	"SluiceWakeObjectiveMissed": {{
		series: `
sluice_scaled_object_wakes_total{namespace="sluice-system",exported_namespace="shop",scaledObject="worker",objective="met",pod="controller-1"} 0+1x9 9x140
sluice_scaled_object_wakes_total{namespace="sluice-system",exported_namespace="shop",scaledObject="worker",objective="missed",pod="controller-1"} 0x9 1x4 2x4 3x130
sluice_scaled_object_wakes_total{namespace="sluice-system",exported_namespace="shop",scaledObject="other",objective="missed",pod="controller-1"} 7x140`,
		quiet: 14, fires: 25, over: 85, says: "shop/worker",
	}, {
		// Two of many, and of many of which nobody knows.
		series: `
sluice_scaled_object_wakes_total{namespace="shop",scaledObject="worker",objective="met"} 0+5x60
sluice_scaled_object_wakes_total{namespace="shop",scaledObject="worker",objective="missed"} 0x9 1x9 2x40
sluice_scaled_object_wakes_total{namespace="shop",scaledObject="blind",objective="met"} 0x60
sluice_scaled_object_wakes_total{namespace="shop",scaledObject="blind",objective="missed"} 0x60
sluice_scaled_object_wakes_total{namespace="shop",scaledObject="blind",objective="unknown"} 0+5x60`,
		quiet: 55,
	}},
	"SluiceWakesLate": {{
		// Half of the wakes are late for twenty minutes. Prometheus writes the
		// bound as 5.0, older ones as 5.
		series: `
sluice_event_to_replicas_seconds_bucket{pod="controller-1",type="kafka",le="5.0"} 0+10x60 600+5x20 700+10x200
sluice_event_to_replicas_seconds_bucket{pod="controller-1",type="kafka",le="+Inf"} 0+10x60 600+10x20 800+10x200
sluice_event_to_replicas_seconds_count{pod="controller-1",type="kafka"} 0+10x60 600+10x20 800+10x200`,
		quiet: 65, fires: 80, over: 120, says: "99 of 100",
	}, {
		// A tenth is late for hours.
		series: `
sluice_event_to_replicas_seconds_bucket{pod="controller-1",type="kafka",le="5"} 0+9x120 1080+10x300
sluice_event_to_replicas_seconds_count{pod="controller-1",type="kafka"} 0+10x120 1200+10x300`,
		fires: 60, over: 155, quiet: 0,
	}, {
		// One of a hundred is what is allowed.
		series: `
sluice_event_to_replicas_seconds_bucket{pod="controller-1",type="kafka",le="5"} 0+99x400
sluice_event_to_replicas_seconds_count{pod="controller-1",type="kafka"} 0+100x400`,
		quiet: 400,
	}, {
		// Nothing was woken at all.
		series: `
sluice_event_to_replicas_seconds_bucket{pod="controller-1",type="kafka",le="5"} 3x60
sluice_event_to_replicas_seconds_count{pod="controller-1",type="kafka"} 3x60`,
		quiet: 60,
	}},
}

// firing says in which minutes an alert does what.
type firing struct {
	series string
	// Until quiet it does not fire. At fires it does, where that is not 0, and
	// from over on it does not.
	quiet, fires, over int
	// says is part of what it says then.
	says string
}

// TestEveryAlertFiresAndGoesOut on series that are made for it.
func TestEveryAlertFiresAndGoesOut(t *testing.T) {
	all := component(t)
	for name := range cases {
		if _, there := all[name]; !there {
			t.Errorf("there is no alert %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			fired := false
			for i, c := range cases[name] {
				end := max(c.quiet, c.fires, c.over)
				at := minutes(t, all[name], c.series, end)
				for minute := range c.quiet + 1 {
					if len(at[minute]) > 0 && c.quiet > 0 {
						t.Errorf("case %d: fires in minute %d: %v", i, minute, at[minute])
						break
					}
				}
				if c.fires == 0 {
					continue
				}
				fired = true
				if len(at[c.fires]) != 1 || !strings.Contains(at[c.fires][0], c.says) {
					t.Errorf("case %d: in minute %d: %q, want one that says %q", i, c.fires, at[c.fires], c.says)
				}
				if c.over <= c.fires || len(at[c.over]) > 0 {
					t.Errorf("case %d: in minute %d: %q", i, c.over, at[c.over])
				}
			}
			if !fired {
				t.Error("no case in which it fires")
			}
		})
	}
}

// minutes are what an alert says in each minute in which it fires: its
// expression has held for as long as it waits, about the same labels.
func minutes(t *testing.T, a alert, text string, end int) [][]string {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	series, since, said := made(t, text), map[string]int{}, make([][]string, end+1)
	for minute := range end + 1 {
		query, err := engine.NewInstantQuery(t.Context(), series, nil, a.Expr, moment(minute))
		if err != nil {
			t.Fatal(err)
		}
		vector, err := query.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]int{}
		for _, sample := range vector {
			id := sample.Metric.String()
			began, before := since[id]
			if !before {
				began = minute
			}
			now[id] = began
			if moment(minute).Sub(moment(began)) >= time.Duration(a.For) {
				said[minute] = append(said[minute], says(t, a, sample))
			}
		}
		query.Close()
		since = now
	}
	return said
}

// says are the annotations as they are sent.
func says(t *testing.T, a alert, sample promql.Sample) string {
	t.Helper()
	const defined = "{{$labels := .Labels}}{{$value := .Value}}"
	data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
	var said []string
	for _, name := range slices.Sorted(maps.Keys(a.Annotations)) {
		text, err := template.NewTemplateExpander(t.Context(), defined+a.Annotations[name], name, data, model.Now(), nil, &url.URL{}, nil).Expand()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(text, "<no value>") || strings.Contains(text, "  ") || strings.Contains(text, " /") {
			t.Errorf("%s: %q", name, text)
		}
		said = append(said, text)
	}
	return strings.Join(said, "\n")
}

func moment(minute int) time.Time { return time.Unix(int64(minute)*60, 0).UTC() }

// made are series with a sample a minute.
func made(t *testing.T, text string) storage.Queryable {
	t.Helper()
	var all series
	for line := range strings.Lines(strings.TrimSpace(text)) {
		lset, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var samples []chunks.Sample
		for minute, v := range values {
			if !v.Omitted {
				samples = append(samples, sample{moment(minute).UnixMilli(), v.Value})
			}
		}
		all = append(all, storage.NewListSeries(lset, samples))
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{SelectMockFunction: all.find}}
}

type series []storage.Series

func (s series) find(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &found{SeriesSet: storage.EmptySeriesSet(), at: -1}
	for _, one := range s {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(one.Labels().Get(m.Name)) }) {
			set.all = append(set.all, one)
		}
	}
	return set
}

// found are the series of one query.
type found struct {
	storage.SeriesSet
	all series
	at  int
}

func (f *found) Next() bool         { f.at++; return f.at < len(f.all) }
func (f *found) At() storage.Series { return f.all[f.at] }

// sample is a value at a moment.
type sample struct {
	t int64
	f float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.f }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }
