package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

// source is one trigger type and the real server that it reads.
type source struct {
	name, family, triggerType string
	metadata                  map[string]string
	// of are the parameters of the i-th trigger, on top of metadata.
	of func(i int) map[string]string
	// secret are authentication parameters.
	secret map[string]string
	// login are the same where memory and CPU are measured, without the core.
	login map[string]string
	// args and env are those of the family's process beside what all have.
	args, env []string
	rings     bool
	// costs is whether memory and CPU are measured: not of what is as another one
	// of its family.
	costs bool
	// prepare makes what n triggers read, with nothing to do; nil for nothing.
	prepare func(ctx context.Context, n int) error
	// happen brings work to the i-th trigger, and returns once it is there.
	happen func(ctx context.Context, i int) error
}

func (s source) trigger(i int) map[string]string {
	all := s.of(i)
	maps.Copy(all, s.metadata)
	return all
}

func name(i int) string { return "work-" + strconv.Itoa(i) }

// doer is any kind of Redis.
type doer interface {
	Do(ctx context.Context, command ...string) (string, error)
}

// redisSources are the six types of Redis at one address.
func redisSources(ctx context.Context, address string, ends *closing) ([]source, error) {
	o := servers.RedisOptions{Address: address}
	one, err := servers.StartRedis(ctx, o)
	if err != nil {
		return nil, err
	}
	ends.add(one.Close)
	cluster, err := servers.StartRedisCluster(ctx, o)
	if err != nil {
		return nil, err
	}
	ends.add(cluster.Close)
	sentinel, err := servers.StartRedisSentinel(ctx, o)
	if err != nil {
		return nil, err
	}
	ends.add(sentinel.Close)
	var all []source
	for _, kind := range []struct {
		name     string
		server   doer
		metadata map[string]string
	}{
		{"redis", one, map[string]string{"address": one.Addr()}},
		{"redis-cluster", cluster, map[string]string{"addresses": strings.Join(cluster.Addrs(), ",")}},
		{"redis-sentinel", sentinel, map[string]string{"addresses": strings.Join(sentinel.Addrs(), ","), "sentinelMaster": servers.RedisMaster}},
	} {
		all = append(all,
			source{
				name: kind.name, family: "redis", triggerType: kind.name, metadata: kind.metadata, rings: true, costs: kind.server == one,
				of: func(i int) map[string]string { return map[string]string{"listName": name(i), "listLength": "1"} },
				happen: func(ctx context.Context, i int) error {
					_, err := kind.server.Do(ctx, "RPUSH", name(i), "x")
					return err
				},
			},
			source{
				name: kind.name + "-streams", family: "redis", triggerType: kind.name + "-streams", metadata: kind.metadata, rings: true, costs: kind.server == one,
				of: func(i int) map[string]string {
					return map[string]string{"stream": "s" + name(i), "streamLength": "1"}
				},
				happen: func(ctx context.Context, i int) error {
					_, err := kind.server.Do(ctx, "XADD", "s"+name(i), "*", "k", "v")
					return err
				},
			})
	}
	return all, nil
}

// sqlSources are PostgreSQL, with and without a channel, and MariaDB.
func sqlSources(ctx context.Context, address string, ends *closing) ([]source, error) {
	p, err := servers.StartPostgreSQL(ctx, servers.PostgreSQLOptions{Address: address})
	if err != nil {
		return nil, err
	}
	ends.add(p.Close)
	m, err := servers.StartMariaDB(ctx, servers.MariaDBOptions{Address: address})
	if err != nil {
		return nil, err
	}
	ends.add(m.Close)
	const table = "CREATE TABLE work (name varchar(20));"
	if err := p.Exec(ctx, table); err != nil {
		return nil, err
	}
	// Whoever asks without the core has no Secret to take a password from.
	if err := m.Exec(ctx, table+"CREATE USER 'nobody'@'%'; GRANT SELECT ON work TO 'nobody'@'%';"); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(m.Addr())
	if err != nil {
		return nil, err
	}
	asking := func(target, suffix string) func(int) map[string]string {
		return func(i int) map[string]string {
			return map[string]string{target: "1", "query": fmt.Sprintf("SELECT count(*) FROM work WHERE name = '%s%s'", name(i), suffix)}
		}
	}
	rung := func(i int) map[string]string {
		all := asking("targetQueryValue", "-rung")(i)
		all["listenChannel"] = name(i)
		return all
	}
	return []source{
		{
			name: "postgresql", family: "sql", triggerType: "postgresql", of: asking("targetQueryValue", ""), secret: map[string]string{"connection": p.URL()},
			happen: func(ctx context.Context, i int) error {
				return p.Exec(ctx, fmt.Sprintf("INSERT INTO work VALUES ('%s');", name(i)))
			},
		},
		{
			name: "postgresql with listenChannel", family: "sql", triggerType: "postgresql", rings: true, of: rung,
			secret: map[string]string{"connection": p.URL()},
			happen: func(ctx context.Context, i int) error {
				return p.Exec(ctx, fmt.Sprintf("INSERT INTO work VALUES ('%[1]s-rung'); NOTIFY \"%[1]s\";", name(i)))
			},
		},
		{
			name: "mysql", costs: true, family: "sql", triggerType: "mysql", of: asking("queryValue", ""),
			metadata: map[string]string{"host": host, "port": port, "username": "nobody", "dbName": servers.SQLDatabase},
			happen: func(ctx context.Context, i int) error {
				return m.Exec(ctx, fmt.Sprintf("INSERT INTO work VALUES ('%s');", name(i)))
			},
		},
	}, nil
}

// prometheusSource scrapes a gauge for each trigger, once a second.
func prometheusSource(ctx context.Context, address string, ends *closing) (source, error) {
	var happened sync.Map
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return source{}, err
	}
	target := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		happened.Range(func(i, _ any) bool {
			fmt.Fprintf(w, "waiting{queue=%q} 1\n", name(i.(int)))
			return true
		})
	})}
	go func() { _ = target.Serve(listener) }()
	ends.add(target.Close)
	p, err := servers.StartPrometheus(ctx, servers.PrometheusOptions{Address: address, Targets: []string{listener.Addr().String()}})
	if err != nil {
		return source{}, err
	}
	ends.add(p.Close)
	return source{
		name: "prometheus", costs: true, family: "prometheus", triggerType: "prometheus", metadata: map[string]string{"serverAddress": p.URL(), "threshold": "1"},
		of: func(i int) map[string]string {
			return map[string]string{"query": fmt.Sprintf("sum(waiting{queue=%q})", name(i))}
		},
		happen: func(_ context.Context, i int) error { happened.Store(i, nil); return nil },
	}, nil
}

// moto asks Moto, unsigned: the scope alone says which service is meant.
type moto struct{ *servers.MotoServer }

func (m moto) ask(ctx context.Context, service, action, body string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL(), strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", action)
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", action, answer.Status, text)
	}
	return err
}

// each asks for n things.
func (m moto) each(service, action, body string) func(context.Context, int) error {
	return func(ctx context.Context, n int) error {
		for i := range n {
			if err := m.ask(ctx, service, action, fmt.Sprintf(body, name(i))); err != nil {
				return err
			}
		}
		return nil
	}
}

// awsSources are the types whose work Moto can have arrive.
func awsSources(ctx context.Context, address string, ends *closing) ([]source, error) {
	server, err := servers.StartMoto(ctx, servers.MotoOptions{Address: address})
	if err != nil {
		return nil, err
	}
	ends.add(server.Close)
	m := moto{server}
	metadata := map[string]string{"awsRegion": "eu-west-1", "awsEndpoint": m.URL()}
	secret := map[string]string{"awsAccessKeyID": "AKIAEXAMPLE", "awsSecretAccessKey": "example"}
	one := func(service, action, body string) func(context.Context, int) error {
		return func(ctx context.Context, i int) error { return m.ask(ctx, service, action, fmt.Sprintf(body, name(i))) }
	}
	all := []source{
		{
			triggerType: "aws-sqs-queue", costs: true, prepare: m.each("sqs", "AmazonSQS.CreateQueue", `{"QueueName":%q}`),
			of:     func(i int) map[string]string { return map[string]string{"queueURL": name(i), "queueLength": "1"} },
			happen: one("sqs", "AmazonSQS.SendMessage", `{"QueueUrl":%q,"MessageBody":"work"}`),
		},
		{
			triggerType: "aws-kinesis-stream", prepare: m.each("kinesis", "Kinesis_20131202.CreateStream", `{"StreamName":%q,"ShardCount":1}`),
			of: func(i int) map[string]string {
				return map[string]string{"streamName": name(i), "activationShardCount": "1"}
			},
			happen: one("kinesis", "Kinesis_20131202.UpdateShardCount", `{"StreamName":%q,"TargetShardCount":2,"ScalingType":"UNIFORM_SCALING"}`),
		},
		{
			triggerType: "aws-dynamodb",
			prepare: func(ctx context.Context, _ int) error {
				return m.ask(ctx, "dynamodb", "DynamoDB_20120810.CreateTable", `{"TableName":"work","BillingMode":"PAY_PER_REQUEST",
					"AttributeDefinitions":[{"AttributeName":"queue","AttributeType":"S"}],"KeySchema":[{"AttributeName":"queue","KeyType":"HASH"}]}`)
			},
			of: func(i int) map[string]string {
				return map[string]string{"tableName": "work", "targetValue": "1", "keyConditionExpression": "#q = :q",
					"expressionAttributeNames": `{"#q":"queue"}`, "expressionAttributeValues": fmt.Sprintf(`{":q":{"S":%q}}`, name(i))}
			},
			happen: one("dynamodb", "DynamoDB_20120810.PutItem", `{"TableName":"work","Item":{"queue":{"S":%q}}}`),
		},
		{
			triggerType: "aws-cloudwatch", costs: true,
			of: func(i int) map[string]string {
				return map[string]string{"namespace": "work", "metricName": name(i), "targetMetricValue": "1", "minMetricValue": "0",
					"metricCollectionTime": "3600", "metricStatPeriod": "60"}
			},
			// A datapoint is looked at once its minute is over: this one's is.
			happen: func(ctx context.Context, i int) error {
				return m.ask(ctx, "monitoring", "GraniteServiceVersion20100801.PutMetricData", fmt.Sprintf(
					`{"Namespace":"work","MetricData":[{"MetricName":%q,"Value":1,"Timestamp":%d}]}`, name(i), time.Now().Add(-3*time.Minute).Unix()))
			},
		},
	}
	for i := range all {
		all[i].name, all[i].family, all[i].metadata, all[i].secret = all[i].triggerType, "aws", metadata, secret
		all[i].args = []string{"--identity-hosts=127.0.0.1"}
	}
	return all, nil
}

// natsSource is a stream for each trigger.
func natsSource(address string, ends *closing) (source, error) {
	folder, err := os.MkdirTemp("", "families-nats")
	if err != nil {
		return source{}, err
	}
	ends.add(func() error { return os.RemoveAll(folder) })
	server, err := brokers.StartNATS(address, folder)
	if err != nil {
		return source{}, err
	}
	ends.add(server.Close)
	client, err := nats.Connect(server.Clients())
	if err != nil {
		return source{}, err
	}
	ends.add(func() error { client.Close(); return nil })
	js, err := jetstream.New(client)
	if err != nil {
		return source{}, err
	}
	return source{
		name: "nats-jetstream", family: "nats", triggerType: "nats-jetstream", rings: true, costs: true,
		metadata: map[string]string{
			"natsServerMonitoringEndpoint": server.Monitoring(), "natsServerEndpoint": server.Clients(), "account": "$G", "consumer": "workers", "lagThreshold": "1",
		},
		of: func(i int) map[string]string { return map[string]string{"stream": name(i)} },
		prepare: func(ctx context.Context, n int) error {
			for i := range n {
				if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name(i), Subjects: []string{name(i)}, Storage: jetstream.MemoryStorage}); err != nil {
					return err
				}
				if _, err := js.CreateConsumer(ctx, name(i), jetstream.ConsumerConfig{Durable: "workers"}); err != nil {
					return err
				}
			}
			return nil
		},
		happen: func(ctx context.Context, i int) error {
			_, err := js.Publish(ctx, name(i), []byte("work"))
			return err
		},
	}, nil
}

// allSources starts every server.
func allSources(ctx context.Context, address string, ends *closing) ([]source, error) {
	all, err := redisSources(ctx, address, ends)
	if err != nil {
		return nil, err
	}
	of, err := sqlSources(ctx, address, ends)
	if err != nil {
		return nil, err
	}
	all = append(all, of...)
	p, err := prometheusSource(ctx, address, ends)
	if err != nil {
		return nil, err
	}
	n, err := natsSource(address, ends)
	if err != nil {
		return nil, err
	}
	of, err = awsSources(ctx, address, ends)
	return append(append(all, p, n), of...), err
}
