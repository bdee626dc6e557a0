package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// TestOneStreamMakesTheAnswerTooLarge has a stream with more groups than an answer
// may have, beside keys of others. What the end of the connection leaves without an
// answer fails by an error that says so to the sampler, which has it asked by parts;
// and by themselves the others are read.
func TestOneStreamMakesTheAnswerTooLarge(t *testing.T) {
	address := standIn(t, func(command string) string {
		switch {
		case strings.HasPrefix(command, "XINFO GROUPS"):
			return manyGroups(5050)
		case strings.HasPrefix(command, "EVAL"):
			return ":3\r\n"
		}
		return "-ERR no\r\n"
	})
	opening, release := scaler.Opening(t.Context())
	defer release()
	large := subject{triggerType: "redis-streams", metadata: map[string]string{
		"address": address, "stream": "jobs", "consumerGroup": "workers", "lagCount": "5"}}.open(opening, t, nil)
	first := subject{triggerType: "redis", metadata: map[string]string{"address": address, "listName": "first"}}.open(opening, t, nil)
	sources := []scaler.Source{large, first}
	for i := range 20 {
		sources = append(sources, sibling(first, fmt.Sprint("key", i)))
	}
	s := first.(*source).server
	tooLarge := func(err error) bool {
		var peer *client.PeerError
		return errors.As(err, &peer) && !peer.OfAll() && strings.Contains(err.Error(), "an answer of more than 65536 elements in all")
	}
	if s != large.(*source).server {
		t.Fatal("they are not read together")
	}
	for i, r := range scaler.ReadTogether(within(t), s, sources...) {
		if !tooLarge(r.Err) {
			t.Errorf("source %d, together: %v, %v", i, r.Readings, r.Err)
		}
	}
	if r := scaler.ReadTogether(within(t), s, large)[0]; !tooLarge(r.Err) {
		t.Errorf("the large one alone: %v, %v", r.Readings, r.Err)
	}
	for i, r := range scaler.ReadTogether(within(t), s, sources[1:]...) {
		if r.Err != nil || r.Readings[0].Value != 3 {
			t.Errorf("source %d of the others: %v, %v, want 3", i, r.Readings, r.Err)
		}
	}
}

// manyGroups is what a server of Redis 7 says of a stream with n groups.
func manyGroups(n int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "*%d\r\n", n)
	for i := range n {
		name := fmt.Sprintf("group-%05d", i)
		fmt.Fprintf(&text, "*12\r\n$4\r\nname\r\n$%d\r\n%s\r\n$9\r\nconsumers\r\n:0\r\n$7\r\npending\r\n:0\r\n"+
			"$17\r\nlast-delivered-id\r\n$3\r\n0-0\r\n$12\r\nentries-read\r\n:0\r\n$3\r\nlag\r\n:0\r\n", len(name), name)
	}
	return text.String()
}
