package attacks

import (
	"fmt"
	"net"
	"testing"
)

// crowd is how many servers do at once what no process could bear from all of
// them, while each keeps to what one may send.
const crowd = 40

// TestCrowds has many servers each send as much as one may, and then wait with
// the rest.
func TestCrowds(t *testing.T) {
	t.Parallel()
	web := flood(ok+"Content-Length: 16000000\r\n\r\n[", "1,", 15<<20)
	documents := map[string]func(net.Conn){"yaml": page(fill("- [a, {b: c}]\n")), "xml": page(fill(`<a><b c="d"/></a>`)), "json": page("[" + fill("[],") + "1]")}
	kafka := map[string]string{"bootstrapServers": "ADDRESS", "consumerGroup": "workers", "topic": "jobs"}
	crowds := map[string]map[string]siege{
		"redis": {"bulk": {trigger: "redis", metadata: map[string]string{"address": "ADDRESS", "listName": "jobs"}, lie: lie{answer: flood("$500000\r\n", "x", 499_000)}}},
		"kafka": {
			"usual": {trigger: "kafka", metadata: kafka, lie: lie{answer: flood("\x00\xf0\x00\x00\x00\x00\x00\x00", "\x00", 14<<20)}},
			"large": {trigger: "kafka", metadata: kafka, lie: lie{answer: flood("\x06\x00\x00\x00\x00\x00\x00\x00", "\x00", 80<<20)}},
		},
		"sql": {
			"postgresql": {
				trigger: "postgresql", metadata: map[string]string{"query": "SELECT 1", "targetQueryValue": "1"},
				secret: map[string]string{"connection": "postgresql://me:me@ADDRESS/jobs?sslmode=disable"},
				lie:    lie{answer: postgreSQLAnswers(nil, "D\x00\xe0\x00\x0a\x00\x01\x00\xe0\x00\x00", "9")},
			},
			"mysql": {
				trigger: "mysql", metadata: map[string]string{"query": "SELECT 1", "queryValue": "1"},
				secret: map[string]string{"connectionString": "me:me@tcp(ADDRESS)/jobs"}, lie: lie{answer: greets("\xff\xff\xd0\x00\x0a", "x")},
			},
		},
		"prometheus": {"body": {trigger: "prometheus", metadata: map[string]string{"serverAddress": "http://ADDRESS", "query": "jobs", "threshold": "1"}, lie: lie{answer: web}}},
		"rabbitmq": {
			"http":  {trigger: "rabbitmq", metadata: map[string]string{"host": "http://guest:guest@ADDRESS/", "queueName": "jobs"}, lie: lie{answer: web}},
			"frame": {trigger: "rabbitmq", metadata: map[string]string{"host": "amqp://guest:guest@ADDRESS/", "queueName": "jobs"}, lie: lie{answer: flood("\x01\x00\x00\x00\xf0\x00\x00\x00\x0a\x00\x0a\x00\x09", "x", 15<<20)}},
		},
		"http": {"body": {trigger: "metrics-api", metadata: map[string]string{"url": "http://ADDRESS", "valueLocation": "a", "targetValue": "1"}, lie: lie{answer: web}}},
	}
	for format, answer := range documents {
		crowds["http"][format] = siege{trigger: "metrics-api", lie: lie{answer: answer}, metadata: map[string]string{
			"url": "http://ADDRESS", "format": format, "valueLocation": "x.y", "targetValue": "1",
		}}
	}
	for family, kinds := range crowds {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			sieges := map[string]siege{}
			for kind, s := range kinds {
				for n := range crowd / len(kinds) {
					sieges[fmt.Sprintf("crowd %s %d", kind, n)] = s
				}
			}
			besiege(t, family, sieges)
		})
	}
}
