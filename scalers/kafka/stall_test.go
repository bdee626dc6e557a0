package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// three is a cluster of three brokers, of which one is to fall silent.
type three struct {
	fake    *kfake.Cluster
	servers string
	sick    int32
	well    int32
	names   int
}

func threeBrokers(t testing.TB) *three {
	t.Helper()
	fake, servers := fakeCluster(t, kfake.NumBrokers(3))
	return &three{fake: fake, servers: servers, sick: 0, well: 1}
}

// group is one whose coordinator is a broker.
func (b *three) group(node int32) string {
	for {
		b.names++
		if name := fmt.Sprintf("group-%d", b.names); b.fake.CoordinatorFor(name) == node {
			return name
		}
	}
}

// topic is one of one partition with one record, at a broker.
func (b *three) topic(t testing.TB, node int32) string {
	t.Helper()
	b.names++
	name := fmt.Sprintf("topic-%d", b.names)
	if err := b.fake.CreateTopic(name, 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.fake.MoveTopicPartition(name, 0, node); err != nil {
		t.Fatal(err)
	}
	operate(t, b.servers).produce(name, 0, 1)
	return name
}

// stall has the sick broker leave requests of these kinds unanswered, or all.
// A connection that such a request came on is stuck, as it is in Kafka.
func (b *three) stall(keys ...int16) {
	b.fake.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		if b.fake.CurrentNode() != b.sick || len(keys) > 0 && !slices.Contains(keys, req.Key()) {
			return nil, nil, false
		}
		b.fake.KeepControl()
		return nil, nil, true
	})
}

// answered is what came of one member of a batch.
type answered struct {
	i int
	scaler.Result
}

// batch reads sources in the background. Its answers come on the channel as
// they are given, which is closed in the end.
func batch(ctx context.Context, c *cluster, sources []*lagSource) <-chan answered {
	answers := make(chan answered, len(sources))
	go func() {
		defer close(answers)
		all := make([]scaler.Source, len(sources))
		for i, s := range sources {
			all[i] = s
		}
		_ = c.ReadBatch(ctx, all, func(i int, r scaler.Result) { answers <- answered{i, r} })
	}()
	return answers
}

// expect waits for good answers of some members. Others may come as well.
func expect(t testing.TB, answers <-chan answered, members ...int) {
	t.Helper()
	late := time.After(patience)
	for left := slices.Clone(members); len(left) > 0; {
		select {
		case a, ok := <-answers:
			if !ok {
				t.Fatalf("members %v were not answered", left)
			}
			if a.Err != nil && slices.Contains(left, a.i) {
				t.Fatalf("member %d: %v", a.i, a.Err)
			}
			left = slices.DeleteFunc(left, func(i int) bool { return i == a.i })
		case <-late:
			t.Fatalf("members %v are not answered while another's broker is silent", left)
		}
	}
}

// TestSilentBroker has one broker of three fall silent, for one kind of request
// (and whatever comes after it on that connection) or for all. Only what it
// alone can answer fails, with its name; all else is answered in the same
// batch. The next batch does not ask it.
func TestSilentBroker(t *testing.T) {
	tests := map[string]struct {
		keys  []int16 // none for all
		fresh bool    // it is silent before the first connection
		spare bool    // others can answer as well
	}{
		"log ends":                       {keys: []int16{listOffsetsKey}},
		"committed offsets":              {keys: []int16{offsetFetchKey}},
		"members of groups":              {keys: []int16{describeGroupsKey}},
		"topics":                         {keys: []int16{metadataKey}, spare: true},
		"coordinators":                   {keys: []int16{coordinatorsKey}, fresh: true, spare: true},
		"everything":                     {},
		"everything, from the beginning": {fresh: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := threeBrokers(t)
			c := join(t, b.servers)
			here, there := b.topic(t, b.well), b.topic(t, b.sick)
			o := operate(t, b.servers)
			questions := []question{
				{group: b.group(b.well), topics: []string{here}},
				{group: b.group(b.well)},
				{group: b.group(b.well), apache: true},
				{group: b.group(b.well), topics: []string{there}},
				{group: b.group(b.sick), topics: []string{here}},
				{group: b.group(b.sick)},
				{group: b.group(b.sick), apache: true},
			}
			well, sick := []int{0, 1, 2}, []int{3, 4, 5, 6}
			var sources []*lagSource
			for _, q := range questions {
				if len(q.topics) == 0 {
					o.commit(q.group, here, 0)
				}
				sources = append(sources, newLagSource(c, q))
			}
			if !tt.fresh {
				expect(t, batch(t.Context(), c, sources), append(well, sick...)...)
			}
			b.stall(tt.keys...)
			for range 3 { // any broker is asked first what all can answer
				ctx, cancel := context.WithTimeout(t.Context(), silence+time.Second)
				defer cancel()
				answers := batch(ctx, c, sources)
				expect(t, answers, well...)
				for range answers {
				}
			}
			if tt.spare {
				return
			}
			before := counts(c)
			for a := range batch(t.Context(), c, sources) {
				if slices.Contains(well, a.i) {
					if a.Err != nil {
						t.Errorf("member %d: %v", a.i, a.Err)
					}
					continue
				}
				if a.i == 3 && a.Err == nil && len(tt.keys) > 0 && !slices.Contains(tt.keys, listOffsetsKey) {
					continue // its request was the first on a new connection
				}
				want := questions[a.i].subject(a.i == 3) + b.named() + ": no answer in time"
				if status.Code(a.Err) != codes.DeadlineExceeded || message(a.Err) != want {
					t.Errorf("member %d: %v, %v, want %q", a.i, a.Readings, a.Err, want)
				}
			}
			for _, key := range []int16{listOffsetsKey, offsetFetchKey, describeGroupsKey} {
				if sent := c.traffic.requests[key].Load() - before[key]; sent > 2 {
					t.Errorf("%s: %d requests, want none to the silent broker", kmsg.NameForKey(key), sent)
				}
			}
		})
	}
}

// subject is what an error of a member is about.
func (q question) subject(ofTopic bool) string {
	if ofTopic {
		return "topic " + q.topics[0] + " partition 0: "
	}
	return "consumer group " + q.group + ": "
}

func (b *three) named() string {
	return fmt.Sprintf("broker %d (%s)", b.sick, strings.Split(b.servers, ",")[b.sick])
}

// TestSilentBrokerIsBack has a broker fall silent that every member needs, and
// answer again. Nothing but reading is needed to notice.
func TestSilentBrokerIsBack(t *testing.T) {
	b := threeBrokers(t)
	c := join(t, b.servers)
	source := newLagSource(c, question{group: b.group(b.well), topics: []string{b.topic(t, b.sick)}})
	read(t, source)
	var back atomic.Bool
	b.fake.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
		if b.fake.CurrentNode() != b.sick || back.Load() {
			return nil, nil, false
		}
		b.fake.KeepControl()
		return nil, nil, true
	})
	ctx, cancel := context.WithTimeout(t.Context(), silence+time.Second)
	defer cancel()
	if _, err := source.Read(ctx); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("error = %v, want DeadlineExceeded", err)
	}
	if _, err := source.Read(t.Context()); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error = %v, want DeadlineExceeded at once", err)
	}
	back.Store(true)
	until(t, func(ctx context.Context) error {
		_, err := source.Read(ctx)
		return err
	})
}
