package servers_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// limit bounds every exchange with a server; none takes long on an idle machine.
const limit = time.Minute

func TestKafkaKeepsRecordsAndGroups(t *testing.T) {
	k := servers.SharedKafka(t)
	client := kafkaClient(t, k.Bootstrap())
	createTopic(t, client, "orders", 2)
	produce(t, client, "orders", 5)

	consumer := kafkaClient(t, k.Bootstrap(), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	consume(t, consumer, 5)
	if err := consumer.CommitUncommittedOffsets(within(t)); err != nil {
		t.Fatal(err)
	}
	produce(t, client, "orders", 3)

	lags, err := kadm.NewClient(client).Lag(within(t), "billing")
	if err != nil {
		t.Fatal(err)
	}
	if got := lags["billing"].Lag.Total(); got != 3 {
		t.Errorf("lag = %d, want the 3 records produced since the commit", got)
	}
}

func TestKafkaBrokersFormACluster(t *testing.T) {
	k := servers.Kafka(t, servers.KafkaOptions{Brokers: 3})
	admin := kadm.NewClient(kafkaClient(t, k.Bootstrap()))
	brokers, err := admin.ListBrokers(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(brokers) != 3 {
		t.Errorf("brokers = %v, want 3", brokers.NodeIDs())
	}
	if _, err := admin.CreateTopic(within(t), 3, 3, nil, "replicated"); err != nil {
		t.Fatal(err)
	}
	if err := k.Nodes[0].Kill(); err != nil {
		t.Fatal(err)
	}
	produce(t, kafkaClient(t, k.Bootstrap()), "replicated", 6)
}

func TestKafkaRestartKeepsPortsAndData(t *testing.T) {
	tests := map[string]func(*servers.KafkaServer) error{
		"after a kill":     (*servers.KafkaServer).Kill,
		"after a shutdown": (*servers.KafkaServer).Shutdown,
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			k := servers.Kafka(t)
			before := k.Bootstrap()
			client := kafkaClient(t, before)
			createTopic(t, client, "orders", 1)
			produce(t, client, "orders", 2)
			if err := end(k); err != nil {
				t.Fatal(err)
			}
			if k.Nodes[0].Running() {
				t.Error("the broker still runs")
			}
			if conn, err := new(net.Dialer).DialContext(within(t), "tcp", before); err == nil {
				conn.Close()
				t.Error("the port still accepts connections")
			}
			if err := k.Restart(within(t)); err != nil {
				t.Fatal(err)
			}
			if k.Bootstrap() != before {
				t.Errorf("bootstrap = %s, want %s", k.Bootstrap(), before)
			}
			produce(t, client, "orders", 1)
			consumer := kafkaClient(t, before, kgo.ConsumeTopics("orders"),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			consume(t, consumer, 3)
		})
	}
}

func TestKafkaStoppedAcceptsButDoesNotAnswer(t *testing.T) {
	k := servers.Kafka(t)
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(within(t), "tcp", k.Bootstrap())
	if err != nil {
		t.Fatalf("a stopped broker must accept connections: %v", err)
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	client := kafkaClient(t, k.Bootstrap())
	if err := client.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping = %v, want the deadline", err)
	}
	if err := k.Continue(); err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(within(t)); err != nil {
		t.Errorf("ping after Continue: %v", err)
	}
}

func TestKafkaLogins(t *testing.T) {
	k := servers.Kafka(t, servers.KafkaOptions{
		Users:       map[string]string{"alice": "wonderland"},
		OAuthBearer: true, TLS: true, ClientAuth: true, Authorize: true,
	})
	admin := kafkaClient(t, k.Bootstrap())
	createTopic(t, admin, "open", 1)
	createTopic(t, admin, "closed", 1)
	allow := kadm.NewACLs().Topics("open").ResourcePatternType(kadm.ACLPatternLiteral).
		Operations(kadm.OpRead, kadm.OpDescribe, kadm.OpWrite).
		Allow("User:alice", "User:carol", "User:robot").AllowHosts()
	created, err := kadm.NewClient(admin).CreateACLs(within(t), allow)
	if err != nil {
		t.Fatal(err)
	}
	awaitACLs(t, admin, len(created))
	alice := scram.Auth{User: "alice", Pass: "wonderland"}
	mechanisms := map[string]sasl.Mechanism{
		"plain":         plain.Auth{User: "alice", Pass: "wonderland"}.AsMechanism(),
		"scram sha 256": alice.AsSha256Mechanism(),
		"scram sha 512": alice.AsSha512Mechanism(),
		"oauthbearer":   oauth.Auth{Token: servers.OAuthToken("robot")}.AsMechanism(),
	}
	for name, mechanism := range mechanisms {
		t.Run(name, func(t *testing.T) {
			checkAccess(t, kafkaClient(t, k.BootstrapSASL(), kgo.SASL(mechanism)))
		})
		t.Run(name+" over TLS", func(t *testing.T) {
			checkAccess(t, kafkaClient(t, k.BootstrapSASLTLS(), kgo.SASL(mechanism),
				kgo.DialTLSConfig(clientConfig(t, k.Authority, ""))))
		})
	}
	t.Run("client certificate", func(t *testing.T) {
		checkAccess(t, kafkaClient(t, k.BootstrapTLS(), kgo.DialTLSConfig(clientConfig(t, k.Authority, "carol"))))
	})
	t.Run("no client certificate is refused", func(t *testing.T) {
		client := kafkaClient(t, k.BootstrapTLS(), kgo.DialTLSConfig(clientConfig(t, k.Authority, "")))
		if err := client.Ping(within(t)); err == nil {
			t.Error("ping succeeded")
		}
	})
	t.Run("wrong password is refused", func(t *testing.T) {
		wrong := plain.Auth{User: "alice", Pass: "looking-glass"}.AsMechanism()
		if err := kafkaClient(t, k.BootstrapSASL(), kgo.SASL(wrong)).Ping(within(t)); !errors.Is(err, kerr.SaslAuthenticationFailed) {
			t.Errorf("ping = %v, want %v", err, kerr.SaslAuthenticationFailed)
		}
	})
}

func TestKafkaBehindFaults(t *testing.T) {
	k := servers.Kafka(t, servers.KafkaOptions{Fault: true})
	client := kafkaClient(t, k.BootstrapFault())
	createTopic(t, client, "orders", 1)
	produce(t, client, "orders", 1)

	proxy := k.Faults()[0]
	if proxy.Stats().ToClient == 0 {
		t.Error("no byte passed the proxy: the broker told its clients another address")
	}
	proxy.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping through a stalled proxy = %v, want the deadline", err)
	}
	proxy.Heal()
	produce(t, client, "orders", 1)
}

func TestKafkaCloseRemovesItsFolder(t *testing.T) {
	k, err := servers.StartKafka(within(t), servers.KafkaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	log := k.Nodes[0].LogFile()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(log); !os.IsNotExist(err) {
		t.Errorf("stat %s = %v, want it removed", log, err)
	}
}

func TestKafkaThatCannotStartSaysWhy(t *testing.T) {
	_, err := servers.StartKafka(within(t), servers.KafkaOptions{
		Properties: map[string]string{"num.io.threads": "none"},
	})
	if err == nil || !strings.Contains(err.Error(), "num.io.threads") {
		t.Errorf("error = %v, want the broker's own words", err)
	}
}

func TestMissingServerSaysHowToInstallIt(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("KAFKA_HOME", "")
	t.Setenv("PATH", "")
	t.Setenv("JAVA_HOME", "")
	_, err := servers.StartKafka(within(t), servers.KafkaOptions{})
	if want := "is not installed: run make test-servers"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q", err, want)
	}
}

// awaitACLs waits until the broker goes by n ACLs: creating them is answered
// when the controller has written them down, a moment before.
func awaitACLs(t *testing.T, client *kgo.Client, n int) {
	t.Helper()
	ctx := within(t)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	all := kadm.NewACLs().AnyResource().ResourcePatternType(kadm.ACLPatternAny).
		Operations(kadm.OpAny).Allow().AllowHosts().Deny().DenyHosts()
	for {
		results, err := kadm.NewClient(client).DescribeACLs(ctx, all)
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for _, result := range results {
			known += len(result.Described)
		}
		if known >= n {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the broker knows %d ACLs, want %d", known, n)
		case <-ticker.C:
		}
	}
}

// checkAccess expects a client that may use the topic "open" and no other.
func checkAccess(t *testing.T, client *kgo.Client) {
	t.Helper()
	produce(t, client, "open", 1)
	offsets, err := kadm.NewClient(client).ListEndOffsets(within(t), "closed")
	if err == nil {
		err = offsets.Error()
	}
	if !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("offsets of a topic without ACL = %v, want %v", err, kerr.TopicAuthorizationFailed)
	}
}

func kafkaClient(t *testing.T, bootstrap string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(strings.Split(bootstrap, ",")...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, client *kgo.Client, topic string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(client).CreateTopic(within(t), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, client *kgo.Client, topic string, n int) {
	t.Helper()
	ctx := within(t)
	for range n {
		record := &kgo.Record{Topic: topic, Value: []byte("work")}
		if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
			t.Fatalf("produce to %s: %v", topic, err)
		}
	}
}

func consume(t *testing.T, client *kgo.Client, n int) {
	t.Helper()
	ctx := within(t)
	for got := 0; got < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", got, n, err)
		}
		got += fetches.NumRecords()
	}
}

func clientConfig(t *testing.T, authority *servers.Authority, commonName string) *tls.Config {
	t.Helper()
	config, err := authority.ClientConfig(commonName)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
