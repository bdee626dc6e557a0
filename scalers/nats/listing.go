package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

// listing is what one server says of an account.
type listing struct {
	server   string // id; "" where it does not say
	disabled bool   // it has no JetStream
	servers  int64  // of the cluster; 0 for a single one
	account  bool   // it knows the account
	streams  map[string]bool
	found    map[place]consumer
}

// place is a consumer of a stream.
type place struct{ stream, consumer string }

// consumer is what a server says of one.
type consumer struct {
	leader   string // by name; "" while there is none
	lag      float64
	counted  bool          // the lag is there
	doubtful bool          // nothing is pending, although the stream has more than was delivered
	alone    bool          // it has no followers yet, although it is replicated
	led      time.Duration // for how long the leader has led; -1 for unknown
	subjects subjects
}

// list asks one server for all consumers of the account, and keeps what is
// wanted.
func (a *account) list(ctx context.Context, base *url.URL, wanted map[place][]int) (*listing, error) {
	var l *listing
	query := url.Values{"acc": {a.id}, "config": {"true"}, "consumers": {"true"}}
	err := a.monitoring.get(ctx, base, "jsz", query, func(turn func() error, body []byte) (bool, error) {
		var err error
		l, err = a.understand(turn, body, wanted)
		return l != nil, err
	})
	return l, err
}

// idOf is the id of a server, by itself: what is kept must not keep the answer.
func idOf(text string) string { return strings.Clone(text[:min(len(text), longestName)]) }

// understand looks into a listing as it stands, so that nothing is made of what
// nobody wants, and waits for its turn between streams and consumers. It is nil
// for what is none. Depth is bounded by json.Valid.
func (a *account) understand(turn func() error, body []byte, wanted map[place][]int) (*listing, error) {
	if !json.Valid(body) {
		return nil, nil //nolint:nilnil // no listing
	}
	top := gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body))) // without a copy
	l := &listing{
		server: idOf(top.Get("server_id").String()), disabled: top.Get("disabled").Bool(), servers: top.Get("meta_cluster.cluster_size").Int(),
		streams: map[string]bool{}, found: map[place]consumer{},
	}
	if !top.IsObject() || l.server == "" && !top.Get("account_details").IsArray() {
		return nil, nil //nolint:nilnil // no listing
	}
	streams := map[string]bool{}
	for p := range wanted {
		streams[p.stream] = true
	}
	err := each(top.Get("account_details"), turn, func(details gjson.Result) error {
		if !a.is(details) {
			return nil
		}
		l.account = true
		return each(details.Get("stream_detail"), turn, func(stream gjson.Result) error {
			if name := stream.Get("name").String(); streams[name] {
				return l.add(name, stream, turn, wanted)
			}
			return nil
		})
	})
	return l, err
}

// is compares the name only where one was given: an account may have none.
func (a *account) is(details gjson.Result) bool {
	return details.Get("id").String() == a.id || a.name != "" && details.Get("name").String() == a.name
}

// add takes the consumers of a stream that are wanted, the first of each name. A
// stream has all of its consumers as text: it is gone through once for all of
// them.
func (l *listing) add(name string, stream gjson.Result, turn func() error, wanted map[place][]int) error {
	name = strings.Clone(name) // what is kept must not keep the answer
	l.streams[name] = true
	config, state := stream.Get("config"), stream.Get("state")
	messages, last := state.Get("messages").Uint(), state.Get("last_seq").Uint()
	return each(stream.Get("consumer_detail"), turn, func(detail gjson.Result) error {
		p := place{name, detail.Get("name").String()}
		if _, known := l.found[p]; known || len(wanted[p]) == 0 {
			return nil
		}
		p.consumer = strings.Clone(p.consumer)
		pending, unacknowledged := detail.Get("num_pending"), detail.Get("num_ack_pending")
		l.found[p] = consumer{
			leader:   nameOf(detail.Get("cluster.leader")),
			lag:      pending.Num + unacknowledged.Num,
			counted:  isCount(pending) && isCount(unacknowledged),
			doubtful: pending.Num == 0 && messages > 0 && last > detail.Get("delivered.stream_seq").Uint(),
			alone:    replicas(config, detail.Get("config")) > 1 && !detail.Get("cluster.replicas.0").Exists(),
			led:      ledFor(detail),
			subjects: subjectsOf(config, detail.Get("config")),
		}
		return nil
	})
}

// replicas is how many servers keep a consumer: as many as its stream, unless it
// says otherwise. One that is not durable is kept by one, where nothing depends on
// it.
func replicas(stream, consumer gjson.Result) int64 {
	own := consumer.Get("num_replicas").Int()
	switch {
	case own > 0:
		return own
	case consumer.Get("durable_name").String() == "" && stream.Get("retention").String() == "limits":
		return 1
	default:
		return stream.Get("num_replicas").Int()
	}
}

// ledFor is for how long the leader has led, by its own clock; -1 where it does not
// say, as servers before 2.12 and those without followers.
func ledFor(detail gjson.Result) time.Duration {
	since, err := time.Parse(time.RFC3339, detail.Get("cluster.leader_since").String())
	if err != nil {
		return -1
	}
	now, err := time.Parse(time.RFC3339, detail.Get("ts").String())
	if err != nil {
		return -1
	}
	return max(0, now.Sub(since))
}

func isCount(r gjson.Result) bool { return r.Type == gjson.Number && r.Num >= 0 }

// subjects are those that messages for a consumer are published on.
type subjects struct {
	names   string // with spaces between them, in order
	unheard string // why nobody can listen to them; "" where one can
}

// mostSubjects is how many subjects a trigger listens to, and mostBytes how long
// they are together: less than what servers take in one line.
const (
	mostSubjects = 100
	mostBytes    = 4000
)

// subjectsOf are the ones that a consumer is filtered by, unless the stream
// changes them on their way, else the stream's. A mirror has none.
func subjectsOf(stream, consumer gjson.Result) subjects {
	all, few := texts(consumer.Get("filter_subjects"), consumer.Get("filter_subject"))
	if len(all) == 0 || stream.Get("subject_transform").Exists() {
		all, few = texts(stream.Get("subjects"))
	}
	switch {
	case !few:
		return subjects{unheard: fmt.Sprintf("has more than %d subjects, or %d bytes of them; a consumer with a filter has fewer", mostSubjects, mostBytes)}
	case len(all) == 0:
		return subjects{unheard: "has no subjects, as mirrors have none"}
	case !slices.ContainsFunc(all, isNoSubject):
		slices.Sort(all)
		return subjects{names: strings.Clone(strings.Join(slices.Compact(all), " "))}
	default:
		return subjects{unheard: "has a subject that nobody can listen to"}
	}
}

// size is about what listening to them takes, in bytes.
func (s subjects) size() int {
	if s.names == "" {
		return 0
	}
	const each = 512 // what is remembered of a subject, and what is sent of it
	return 4*len(s.names) + each*(1+strings.Count(s.names, " "))
}

// texts are the texts of lists, or each by itself, that are not empty. They are
// few when they stay within what a trigger listens to.
func texts(lists ...gjson.Result) (all []string, few bool) {
	bytes := 0
	for _, list := range lists {
		list.ForEach(func(_, text gjson.Result) bool {
			if text.String() != "" {
				all = append(all, text.String())
			}
			bytes += len(text.String())
			return len(all) <= mostSubjects && bytes <= mostBytes
		})
	}
	return all, len(all) <= mostSubjects && bytes <= mostBytes
}

// longestName is more than any server is called.
const longestName = 256

// isNoName is true for what servers do not call themselves, or a subject. A line
// of the protocol would end in it.
func isNoName(text string) bool {
	return text == "" || len(text) > mostBytes || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// isNoSubject is true for what a server would refuse, and end the session that all
// at the client port share: nothing between dots, or more behind what stands for
// all. Others may name it who have no stream.
//
// Source: https://docs.nats.io/nats-concepts/subjects
func isNoSubject(text string) bool {
	parts := strings.Split(text, ".")
	return isNoName(text) || !utf8.ValidString(text) || slices.Contains(parts, "") || slices.Contains(parts[:len(parts)-1], ">")
}

// nameOf is the name of a server, "" for none.
func nameOf(r gjson.Result) string {
	if name := r.String(); len(name) <= longestName && !isNoName(name) {
		return strings.Clone(name)
	}
	return ""
}

// each calls use for the elements of a list, each in turn; anything else has none.
// It ends with the first error.
func each(list gjson.Result, turn func() error, use func(gjson.Result) error) (err error) {
	if !list.IsArray() {
		return nil
	}
	list.ForEach(func(_, element gjson.Result) bool {
		if err = turn(); err == nil {
			err = use(element)
		}
		return err == nil
	})
	return err
}
