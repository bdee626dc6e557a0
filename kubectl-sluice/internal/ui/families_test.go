package ui

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// metrics are those of an instance that has read so often.
func metrics(reads, failed, slow int) string {
	return fmt.Sprintf(`
# TYPE sluice_scaler_reads_total counter
sluice_scaler_reads_total{family="kafka",type="kafka",outcome="value",cause="interval"} %d
sluice_scaler_reads_total{family="kafka",type="apache-kafka",outcome="error",cause="interval"} %d
# TYPE sluice_scaler_read_duration_seconds histogram
sluice_scaler_read_duration_seconds_bucket{type="kafka",le="0.005"} %d
sluice_scaler_read_duration_seconds_bucket{type="kafka",le="0.1"} %d
sluice_scaler_read_duration_seconds_bucket{type="kafka",le="+Inf"} %d
sluice_scaler_read_duration_seconds_sum{type="kafka"} 1
sluice_scaler_read_duration_seconds_count{type="kafka"} %d
# TYPE sluice_scaler_questions gauge
sluice_scaler_questions{type="kafka"} 3
sluice_scaler_questions{type="apache-kafka"} 4
# TYPE sluice_scaler_subscriptions gauge
sluice_scaler_subscriptions{type="kafka"} 100
# TYPE sluice_scaler_shared_connections gauge
sluice_scaler_shared_connections 2
# TYPE go_memstats_sys_bytes gauge
go_memstats_sys_bytes 6e+07
# TYPE go_memstats_heap_released_bytes gauge
go_memstats_heap_released_bytes 1e+07
# TYPE go_gc_gomemlimit_bytes gauge
go_gc_gomemlimit_bytes 9.223372036854776e+18
`, reads, failed, reads+failed-slow, reads+failed, reads+failed, reads+failed)
}

func TestFamiliesTellWhatBecameOfThem(t *testing.T) {
	text := metrics(100, 10, 0)
	looks := &Looks{Instances: func(context.Context) ([]Instance, error) {
		return []Instance{
			{Family: "kafka", Pod: "scaler-kafka-b", Ready: true, Get: func(context.Context) ([]byte, error) { return []byte(text), nil }},
			{Family: "kafka", Pod: "scaler-kafka-a"},
			{Family: "aws", Pod: "scaler-aws-a", Ready: true, Get: func(context.Context) ([]byte, error) { return nil, errors.New("no right to forward") }},
			{Family: "cron", Pod: "scaler-cron-a", Ready: true, Get: func(context.Context) ([]byte, error) { return []byte("{"), nil }},
		}, nil
	}}
	all, err := looks.Families(t.Context())
	if err != nil || len(all) != 4 {
		t.Fatal(all, err)
	}
	if f := all[0]; f.Family != "aws" || f.Problem != "no right to forward" || f.Questions != nil {
		t.Errorf("%+v", f)
	}
	if f := all[1]; f.Problem == "" || f.Reads != nil {
		t.Errorf("%+v", f)
	}
	if f := all[2]; f.Pod != "scaler-kafka-a" || f.Ready || f.Problem != "" {
		t.Errorf("%+v", f)
	}
	if f := all[3]; *f.Questions != 7 || *f.Subscriptions != 100 || *f.Connections != 2 || *f.Memory != 5e7 || f.MemoryLimit != nil || f.Reads != nil || *f.Median != 0.005 {
		t.Errorf("at first: %+v", f)
	}
	// Of what came since, a third took longer.
	before := looks.last["scaler-kafka-b"]
	before.at = before.at.Add(-10 * time.Second)
	looks.last["scaler-kafka-b"] = before
	text = metrics(120, 20, 10)
	if all, err = looks.Families(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f := all[3]; *f.Reads < 2.5 || *f.Reads > 3 || *f.Errors > 1 || *f.Median != 0.005 || *f.P99 != 0.1 {
		t.Errorf("later: reads %v, errors %v, median %v, p99 %v", *f.Reads, *f.Errors, *f.Median, *f.P99)
	}
	// It began anew: what it counted before says nothing.
	text = metrics(1, 0, 0)
	if all, _ = looks.Families(t.Context()); all[3].Reads != nil || all[3].Median != nil {
		t.Errorf("after a restart: %+v", all[3])
	}
	looks.Instances = func(context.Context) ([]Instance, error) { return nil, errors.New("you may not list Pods") }
	if _, err := looks.Families(t.Context()); err == nil {
		t.Error("no error")
	}
}
