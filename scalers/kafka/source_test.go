package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// TestPersistentLag proves that a partition counts as stuck only after a whole
// polling interval, however often it is read meanwhile.
func TestPersistentLag(t *testing.T) {
	s := newLagSource(&cluster{}, question{group: "g"})
	p := lagParams{LagThreshold: 10, ExcludePersistentLag: true, OffsetResetPolicy: latest}
	stuck, moving, gone := partition{"t", 0}, partition{"t", 1}, partition{"t", 2}
	places := map[partition]place{stuck: {end: 10}, moving: {end: 100}, gone: {end: 5}}
	start := time.Now()
	steps := []struct {
		after     time.Duration
		committed map[partition]int64
		value     float64
		activity  float64
	}{
		{0, map[partition]int64{stuck: 7, moving: 98, gone: 0}, 10, 10}, // first sight
		{time.Second, map[partition]int64{stuck: 7, moving: 98, gone: 0}, 10, 10},
		{15 * time.Second, map[partition]int64{stuck: 7, moving: 99}, 4, 4},  // gone is left out
		{interval, map[partition]int64{stuck: 7, moving: 99, gone: 0}, 6, 9}, // stuck is stuck, gone is new
		{45 * time.Second, map[partition]int64{stuck: 8, moving: 99, gone: 0}, 7, 8},
	}
	for i, step := range steps {
		readings := s.observed(start.Add(step.after), step.committed, places)
		made := p.shape(readings, interval)
		if made[0].Value != step.value || made[0].Activity != step.activity {
			t.Errorf("step %d: value, activity = %v, %v, want %v, %v", i, made[0].Value, made[0].Activity, step.value, step.activity)
		}
	}
	if len(s.since) != 3 {
		t.Errorf("%d partitions are remembered, want 3", len(s.since))
	}
}

// TestShapeSharesReadings proves that triggers with different parameters make
// their own numbers out of one reading, which stays as it is.
func TestShapeSharesReadings(t *testing.T) {
	raw := facts(lags(100, 3)).readings()
	tests := map[string]struct {
		params lagParams
		value  float64
	}{
		"low target":       {lagParams{LagThreshold: 5}, 10},
		"high target":      {lagParams{LagThreshold: 50}, 100},
		"idle consumers":   {lagParams{LagThreshold: 5, AllowIdleConsumers: true}, 103},
		"another interval": {lagParams{LagThreshold: 5, ExcludePersistentLag: true}, 10},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			made := kafkaParams{lagParams: tt.params}.Shape(raw)
			if made[0].Value != tt.value || made[0].Activity != 103 {
				t.Errorf("value, activity = %v, %v, want %v, 103", made[0].Value, made[0].Activity, tt.value)
			}
			if raw[0].Value != 103 {
				t.Errorf("the shared reading became %v", raw[0].Value)
			}
		})
	}
}

// TestGroupWithoutTopics proves that a state which keeps consumers from ever
// starting is said, once.
func TestGroupWithoutTopics(t *testing.T) {
	var log bytes.Buffer
	s := newLagSource(&cluster{}, question{group: "beginners"})
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 3 {
		readings := s.observed(time.Now(), nil, nil)
		if readings[0].Value != 0 {
			t.Errorf("value = %v, want 0", readings[0].Value)
		}
	}
	if said := strings.Count(log.String(), "beginners"); said != 1 {
		t.Errorf("said %d times, want once: %s", said, log.String())
	}
}

// TestOneClientPerIdentity proves what is shared: everything but the target,
// unless cluster, version or identity differ.
func TestOneClientPerIdentity(t *testing.T) {
	ctx, release := scaler.Opening(t.Context())
	defer release()
	base := kafkaParams{brokerParams: brokerParams{BootstrapServers: []string{"b:1", "a:1"}}}
	open := func(p kafkaParams) *cluster {
		s, err := openKafka(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		return s.(*lagSource).cluster
	}
	first := open(base)
	tests := map[string]struct {
		change func(*kafkaParams)
		same   bool
	}{
		"other group and topic":  {func(p *kafkaParams) { p.ConsumerGroup, p.Topic = "g", "t" }, true},
		"servers in other order": {func(p *kafkaParams) { p.BootstrapServers = []string{"a:1", " b:1", ""} }, true},
		"other servers":          {func(p *kafkaParams) { p.BootstrapServers = []string{"c:1"} }, false},
		"other version":          {func(p *kafkaParams) { p.Version = "2.0.0" }, false},
		"other user":             {func(p *kafkaParams) { p.SASL, p.account = saslPlaintext, account{"alice", "w"} }, false},
		"other password":         {func(p *kafkaParams) { p.SASL, p.account = saslPlaintext, account{"alice", "x"} }, false},
		"TLS":                    {func(p *kafkaParams) { p.TLS = enable }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := base
			tt.change(&p)
			if same := open(p) == first; same != tt.same {
				t.Errorf("same client: %v, want %v", same, tt.same)
			}
		})
	}
	apache, err := openApacheKafka(ctx, apacheKafkaParams{brokerParams: base.brokerParams})
	if err != nil {
		t.Fatal(err)
	}
	if apache.(*lagSource).cluster == first {
		t.Error("an apache-kafka trigger took over the identity of a kafka trigger")
	}
}

// TestKerberosParameters proves that what cannot be understood is named and
// not shown.
func TestKerberosParameters(t *testing.T) {
	tests := map[string]struct {
		params kerberosParams
		want   string
	}{
		"keytab": {kerberosParams{KerberosConfig: "[libdefaults]\n", Keytab: "s3cr3t"}, "keytab: is not a keytab"},
		"config": {kerberosParams{KerberosConfig: "[libdefaults]\n dns_lookup_kdc = s3cr3t\n"}, "kerberosConfig: is not a krb5.conf"},
		"fine":   {kerberosParams{KerberosConfig: "[libdefaults]\n default_realm = EXAMPLE\n"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mechanism, err := tt.params.mechanism(t.Context(), account{"alice", "wonderland"})
			if message(err) != tt.want && (err == nil || err.Error() != tt.want) {
				t.Fatalf("error = %v, want %q", err, tt.want)
			}
			if err == nil && mechanism.Name() != "GSSAPI" {
				t.Errorf("mechanism %s, want GSSAPI", mechanism.Name())
			}
		})
	}
}
