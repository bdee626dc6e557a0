package attacks

import (
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"testing"
)

// TestLiesToRedis has what passes for Redis lie about lengths: with 22 bytes a
// client asks for all memory that there is.
func TestLiesToRedis(t *testing.T) {
	t.Parallel()
	const most = "9223372036854775807\r\n"
	lies := map[string]func(net.Conn){
		"array":      says("*" + most),
		"elements":   says("*2147483647\r\n"),
		"bulk":       says("$" + most),
		"big bulk":   flood("$1200000000\r\n", "x", gib),
		"map":        says("%4611686018427387904\r\n"),
		"set":        says("~" + most),
		"push":       says(">" + most),
		"attributes": says("|4611686018427387904\r\n"),
		"verbatim":   says("=" + most),
		"blob error": says("!" + most),
		"minus":      says("*-9223372036854775808\r\n"),
		"minus bulk": says("$-9223372036854775808\r\n"),
		"nesting":    flood("", "*1\r\n", gib),
		"maps":       flood("", "%1\r\n+a\r\n", gib),
		"line":       flood("+", "x", gib),
		"number":     flood(":", "9", gib),
		"big number": flood("(", "9", gib),
		"error":      flood("-ERR ", "x", gib),
		"errors":     flood("", "-ERR no\r\n", gib),
		"pushes":     flood("", ">2\r\n+message\r\n+x\r\n", gib),
		"stream":     flood("$?\r\n", ";4\r\nxxxx\r\n", gib),
		"half":       says("*2\r\n$3\r\nabc"),
	}
	sieges := map[string]siege{}
	for name, answer := range lies {
		sieges[name] = siege{trigger: "redis", metadata: map[string]string{"address": "ADDRESS", "listName": "jobs"}, lie: lie{answer: answer}}
	}
	for _, name := range []string{"array", "bulk", "map", "nesting"} {
		for kind, metadata := range map[string]map[string]string{
			"redis-cluster": {"addresses": "ADDRESS", "listName": "jobs"}, "redis-streams": {"address": "ADDRESS", "stream": "jobs", "consumerGroup": "workers"},
			"redis-sentinel": {"addresses": "ADDRESS", "listName": "jobs", "sentinelMaster": "main"},
		} {
			sieges[name+" "+kind] = siege{trigger: kind, metadata: metadata, lie: lie{answer: lies[name]}}
		}
	}
	const moved = "-MOVED 1 169.254.169.254:80\r\n"
	// Servers that log in properly, and lie or send to where nobody may go then.
	polite := map[string]siege{
		"late array":       {trigger: "redis", lie: lie{answer: redisAnswers(map[string]string{"LLEN": "*" + most})}},
		"late slots":       {trigger: "redis-cluster", lie: lie{answer: redisAnswers(map[string]string{"CLUSTER": "*1\r\n*3\r\n:0\r\n:16383\r\n*" + most})}},
		"slots elsewhere":  {trigger: "redis-cluster", lie: lie{answer: redisAnswers(map[string]string{"CLUSTER": "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$15\r\n169.254.169.254\r\n:80\r\n"})}},
		"moved":            {trigger: "redis-cluster", lie: lie{answer: redisAnswers(map[string]string{"CLUSTER": "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:PORT\r\n", "TYPE": moved, "LLEN": moved, "EVAL": moved, "EVALSHA": moved})}},
		"master elsewhere": {trigger: "redis-sentinel", lie: lie{answer: redisAnswers(map[string]string{"SENTINEL": "*2\r\n$15\r\n169.254.169.254\r\n$2\r\n80\r\n"})}},
		"master at home":   {trigger: "redis-sentinel", lie: lie{answer: redisAnswers(map[string]string{"SENTINEL": "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n8080\r\n"})}},
	}
	for name, s := range polite {
		s.metadata = map[string]string{"address": "ADDRESS", "listName": "jobs"}
		if s.trigger == "redis-sentinel" {
			s.metadata["sentinelMaster"] = "main"
		}
		sieges[name] = s
	}
	besiege(t, "redis", sieges)
}

// redisAnswers answers commands by the first word of each, and OK to the rest.
// PORT is the server's.
func redisAnswers(answers map[string]string) func(net.Conn) {
	return func(conn net.Conn) {
		_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
		buffer := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			// A request is an array of bulk strings; several may come at once.
			for _, command := range strings.Split("\r\n"+string(buffer[:n]), "\r\n*")[1:] {
				answer := "+OK\r\n"
				if words := strings.Split(command, "\r\n"); len(words) > 2 {
					word := strings.ToUpper(words[2])
					if word == "HELLO" {
						answer = "-ERR unknown command 'HELLO'\r\n"
					}
					if a, given := answers[word]; given {
						answer = strings.ReplaceAll(a, "PORT", port)
					}
				}
				if _, err := conn.Write([]byte(answer)); err != nil {
					return
				}
			}
		}
	}
}

// frame is one of AMQP's, with an end.
func frame(kind byte, channel uint16, payload string) string {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{kind}, channel), uint32(len(payload)))
	return string(head) + payload + "\xce"
}

// starting is the first frame of a broker, with the bytes of a table after its
// length.
func starting(table string, length uint32) string {
	return frame(1, 0, "\x00\x0a\x00\x0a\x00\x09"+string(binary.BigEndian.AppendUint32(nil, length))+table+
		"\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US")
}

// nested is a table within a table within a table.
func nested(depth int) string {
	lengths := make([]byte, 0, 7*depth)
	for left := depth - 1; left >= 0; left-- {
		lengths = binary.BigEndian.AppendUint32(append(lengths, 1, 'a', 'F'), uint32(7*left))
	}
	return string(lengths)
}

// TestLiesToRabbitMQ has what passes for RabbitMQ lie about frames, tables and
// texts, and about what it answers over HTTP.
func TestLiesToRabbitMQ(t *testing.T) {
	t.Parallel()
	login := []string{
		starting("", 0),
		frame(1, 0, "\x00\x0a\x00\x1e\x00\x00\xff\xff\xff\xff\x00\x00"), // tune: no channel limit, frames of 4 GiB
		frame(1, 0, "\x00\x0a\x00\x29\x00"),                             // connection open
		frame(1, 1, "\x00\x14\x00\x0b\x00\x00\x00\x00"),                 // channel open
	}
	lies := map[string]func(net.Conn){
		"frame":         flood("\x01\x00\x00\xff\xff\xff\xff", "x", gib),
		"big frame":     flood("\x01\x00\x00\x40\x00\x00\x00\x00\x0a\x00\x0a\x00\x09", "x", gib),
		"table":         says(starting("", 1<<32-1)),
		"text in table": says(starting("\x01aS\xff\xff\xff\xff", 7)),
		"depth":         says(starting(nested(1<<20), 7<<20)),
		"array depth":   says(starting("\x01a"+strings.Repeat("A\x00\x7f\xff\xff", 1<<20), 5<<20+2)),
		"heartbeats":    flood("", frame(8, 0, ""), gib),
		"methods":       flood("", frame(1, 0, "\x00\x0a\x00\x3c\x00\x00"), gib),
		"no protocol":   flood("", "AMQP\x00\x00\x09\x01", gib),
		"late frame":    say(append(slices.Clone(login), "\x01\x00\x01\x3f\xff\xff\xff\x00\x32\x00\x0b")...),
		"body":          say(append(slices.Clone(login), frame(1, 1, "\x00\x3c\x00\x3c\x01a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x01q")+frame(2, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00")+frame(3, 1, strings.Repeat("x", 1<<16)))...),
	}
	sieges := map[string]siege{}
	for name, answer := range lies {
		sieges["amqp "+name] = siege{trigger: "rabbitmq", metadata: map[string]string{"host": "amqp://guest:guest@ADDRESS/", "queueName": "jobs"}, lie: lie{answer: answer}}
	}
	for name, l := range webLies() {
		sieges["http "+name] = siege{trigger: "rabbitmq", metadata: map[string]string{"host": "http://guest:guest@ADDRESS/", "queueName": "jobs"}, lie: l}
	}
	besiege(t, "rabbitmq", sieges)
}

// TestLiesToKafka has what passes for Kafka lie about the length of answers and
// of what is in them.
func TestLiesToKafka(t *testing.T) {
	t.Parallel()
	lies := map[string]func(net.Conn){
		"length":      says("\x7f\xff\xff\xff\x00\x00\x00\x00"),
		"minus":       says("\xff\xff\xff\xff\x00\x00\x00\x00"),
		"big":         flood("\x40\x00\x00\x00\x00\x00\x00\x00", "\x00", gib),
		"versions":    says("\x00\x00\x00\x0b\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x07"),
		"old array":   says("\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x7f\xff\xff\xff"),
		"answers":     flood("", "\x00\x00\x00\x04\x00\x00\x00\x00", gib),
		"no protocol": flood("", "HTTP/1.1 200 OK\r\n", gib),
	}
	sieges := map[string]siege{}
	for name, answer := range lies {
		for _, kind := range []string{"kafka", "apache-kafka"} {
			sieges[kind+" "+name] = siege{trigger: kind, lie: lie{answer: answer}, metadata: map[string]string{
				"bootstrapServers": "ADDRESS", "consumerGroup": "workers", "topic": "jobs",
			}}
		}
	}
	besiege(t, "kafka", sieges)
}

// TestLiesToNATS has what passes for a monitoring port answer without end, too
// deep, or with where else to ask.
func TestLiesToNATS(t *testing.T) {
	t.Parallel()
	sieges := map[string]siege{}
	for name, l := range webLies() {
		sieges[name] = siege{trigger: "nats-jetstream", lie: l, metadata: map[string]string{
			"natsServerMonitoringEndpoint": "ADDRESS", "account": "$G", "stream": "orders", "consumer": "workers",
		}}
	}
	besiege(t, "nats", sieges)
}

// TestLiesToPrometheus has what passes for Prometheus answer without end, too
// deep, or with where else to ask.
func TestLiesToPrometheus(t *testing.T) {
	t.Parallel()
	sieges := map[string]siege{}
	for name, l := range webLies() {
		sieges[name] = siege{trigger: "prometheus", lie: l, metadata: map[string]string{
			"serverAddress": "http://ADDRESS", "query": "jobs", "threshold": "1",
		}}
	}
	besiege(t, "prometheus", sieges)
}

// TestLiesToAPIs has metrics-api ask servers that answer as no API would.
func TestLiesToAPIs(t *testing.T) {
	t.Parallel()
	sieges := map[string]siege{}
	for name, l := range webLies() {
		sieges[name] = siege{trigger: "metrics-api", lie: l, metadata: map[string]string{
			"url": "http://ADDRESS/", "valueLocation": "deep.er", "targetValue": "1",
		}}
	}
	for name, answer := range map[string]func(net.Conn){
		"token body":  flood(ok+"\r\n", `{"access_token": "`, gib),
		"token gzip":  bomb(`{"access_token":`),
		"token depth": page(strings.Repeat("[", 8<<20)),
		"token error": flood("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n", `{"error": "`, gib),
	} {
		sieges[name] = siege{
			trigger: "metrics-api", lie: lie{answer: answer},
			metadata: map[string]string{"url": "http://ADDRESS/", "valueLocation": "a", "targetValue": "1", "authMode": "oauth"},
			secret:   map[string]string{"oauthTokenURI": "http://ADDRESS/token", "clientID": "me", "clientSecret": "mine"},
		}
	}
	besiege(t, "http", sieges)
}
