package main

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// FuzzAnswer proves that what passes as an answer is decoded within bounds, and
// without a panic: lengths, lists and tags of any size and depth.
func FuzzAnswer(f *testing.F) {
	for key, l := range layouts {
		request := kmsg.RequestForKey(key)
		for _, version := range []int16{0, 4, l.flexible, l.flexible + 1} {
			request.SetVersion(max(version, 0))
			f.Add(key, max(version, 0), request.ResponseKind().AppendTo(nil))
		}
	}
	f.Add(int16(metadataKey), int16(12), []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07})
	f.Add(int16(apiVersionsKey), int16(3), []byte{0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		l, known := layouts[key]
		if !known || version < 0 || version > newestOf(t, key) {
			return
		}
		if _, err := l.check(body, version); err != nil {
			return
		}
		request := kmsg.RequestForKey(key)
		request.SetVersion(version)
		response := request.ResponseKind()
		before := scalertest.Allocated()
		err := response.ReadFrom(body)
		if took := scalertest.Allocated() - before; took > 2*mostDecoded+uint64(64*len(body)) {
			t.Errorf("%d bytes taken for %d (%v)", took, len(body), err)
		}
		if groups, ok := response.(*kmsg.DescribeGroupsResponse); ok {
			for _, group := range groups.Groups {
				assignedTopics(group)
			}
		}
		if fetched, ok := response.(*kmsg.FetchResponse); ok {
			for _, topic := range fetched.Topics {
				for _, p := range topic.Partitions {
					arrival(p.RecordBatches, 0, time.Now())
				}
			}
		}
	})
}

// FuzzBroker reads a group's lag from a broker whose answers are altered: cut
// off, longer or shorter than they say, repeated without end, numbers
// exchanged. Each reading ends, and none takes the memory that was announced.
func FuzzBroker(f *testing.F) {
	for _, lies := range [][]byte{
		{},
		{0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff},  // a length
		{1, 0, 0, 13, 0xff, 0xff, 0xff, 0x7f}, // a number in it
		{2, 1, 0, 9, 0, 0, 0, 0},              // the end is missing
		{3, 2, 0, 2, 0, 0, 0, 0},              // it is sent again
		{1, 3, 0, 0, 0, 0x40, 0, 0},           // zeros follow
		{4, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 2, 4, 0, 0, 0, 0, 0, 0}, // and the connection ends
	} {
		f.Add(lies)
	}
	l := newLiar(f)
	f.Fuzz(func(t *testing.T, lies []byte) {
		n := byte(0)
		l.tell(func(_ asked, answer []byte) []byte {
			n++
			return scalertest.Alter(answer, n-1, lies, 16<<20)
		})
		before := scalertest.Allocated()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		c, err := endpoint{servers: []string{l.servers}}.connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sources := []scaler.Source{
			newLagSource(c, question{group: "crew", topics: []string{"jobs"}}),
			newLagSource(c, question{group: "crew", apache: true}),
		}
		var answers atomic.Int32
		if err := c.ReadBatch(ctx, sources, func(int, scaler.Result) { answers.Add(1) }); err != nil || int(answers.Load()) != len(sources) {
			t.Errorf("%d answers, %v", answers.Load(), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := scalertest.Allocated() - before; took > 256<<20 {
			t.Errorf("%d bytes taken", took)
		}
	})
}
