package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The client decodes an answer on a goroutine of its own, where nobody recovers
// from a panic. It allocates each list at the length that the broker announces: as
// many elements as there are bytes left, of up to a hundred bytes each, and lists
// within lists. It counts the tags that an answer announces even when no bytes are
// left. So each answer is checked first, by the layouts below: what is announced
// has to be there.
const (
	// mostDecoded is how much memory the lists of one answer may take.
	mostDecoded = 32 << 20
	// mostBrokers is how many brokers a cluster may have: each may be dialled.
	mostBrokers = 1000
	// mostKeys is how many kinds of requests a broker may know.
	mostKeys = 1000
	// mostMembers is how many members the groups of one answer may have.
	mostMembers = 100_000
	// longestHost is how long the name or the rack of a broker may be: they are
	// kept.
	longestHost = 264
	// longestTopic is what Kafka lets the name of a topic have.
	longestTopic = 249
	// mostTags and mostTagged bound what an answer has beside its layout.
	mostTags   = 64
	mostTagged = 64 << 10
)

// Numbers of requests beside those in cluster.go.
const (
	listOffsetsKey      = 2
	metadataKey         = 3
	coordinatorsKey     = 10
	describeGroupsKey   = 15
	saslHandshakeKey    = 17
	apiVersionsKey      = 18
	saslAuthenticateKey = 36
	consumerGroupsKey   = 69
)

// layouts are those of the answers to all requests that this family makes.
//
// Source: https://kafka.apache.org/protocol
var layouts = map[int16]layout{
	fetchKey: {flexible: 12, fields: []field{
		since(1, int32s), since(7, int16s, int32s),
		list[kmsg.FetchResponseTopic](topic, list[kmsg.FetchResponseTopicPartition](
			int32s, int16s, int64s, since(4, int64s), since(5, int64s),
			since(4, list[kmsg.FetchResponseTopicPartitionAbortedTransaction](int64s, int64s)), since(11, int32s), blob,
			tagged(map[int]field{0: structure(int32s, int64s), 1: structure(int32s, int32s), 2: structure(int64s, int32s)}),
		)),
		tagged(map[int]field{0: list[kmsg.FetchResponseBroker](int32s, host, int32s, host)}),
	}},
	listOffsetsKey: {flexible: 6, fields: []field{
		since(2, int32s),
		list[kmsg.ListOffsetsResponseTopic](topic, list[kmsg.ListOffsetsResponseTopicPartition](
			int32s, int16s, upTo(0, list[int64](int64s)), since(1, int64s, int64s), since(4, int32s),
		)),
	}},
	metadataKey: {flexible: 9, fields: []field{
		since(3, int32s),
		atMost(mostBrokers, "brokers", list[kmsg.MetadataResponseBroker](int32s, host, int32s, since(1, host))),
		since(2, text), since(1, int32s),
		list[kmsg.MetadataResponseTopic](
			int16s, topic, since(10, uuid), since(1, int8s),
			list[kmsg.MetadataResponseTopicPartition](
				int16s, int32s, int32s, since(7, int32s), list[int32](int32s), list[int32](int32s), since(5, list[int32](int32s)),
			),
			since(8, int32s),
		),
		since(8, upTo(10, int32s)), since(13, int16s),
	}},
	offsetFetchKey: {flexible: 6, fields: []field{
		since(3, int32s),
		upTo(7, list[kmsg.OffsetFetchResponseTopic](topic, list[kmsg.OffsetFetchResponseTopicPartition](
			int32s, int64s, since(5, int32s), text, int16s,
		)), since(2, int16s)),
		since(8, list[kmsg.OffsetFetchResponseGroup](text, list[kmsg.OffsetFetchResponseGroupTopic](
			topic, list[kmsg.OffsetFetchResponseGroupTopicPartition](int32s, int64s, int32s, text, int16s),
		), int16s)),
	}},
	coordinatorsKey: {flexible: 3, fields: []field{
		since(1, int32s),
		upTo(3, int16s, since(1, text), int32s, host, int32s),
		since(4, list[kmsg.FindCoordinatorResponseCoordinator](text, int32s, host, int32s, int16s, text)),
	}},
	describeGroupsKey: {flexible: 5, fields: []field{
		since(1, int32s),
		list[kmsg.DescribeGroupsResponseGroup](
			int16s, since(6, text), text, text, text, text,
			atMost(mostMembers, "members", list[kmsg.DescribeGroupsResponseGroupMember](text, since(4, text), text, text, blob, blob)),
			since(3, int32s),
		),
	}},
	saslHandshakeKey: {flexible: never, fields: []field{int16s, list[string](text)}},
	apiVersionsKey: {flexible: 3, fields: []field{
		int16s, atMost(mostKeys, "kinds of requests", list[kmsg.ApiVersionsResponseApiKey](int16s, int16s, int16s)), since(1, int32s),
		tagged(map[int]field{
			0: list[kmsg.ApiVersionsResponseSupportedFeature](text, int16s, int16s),
			2: list[kmsg.ApiVersionsResponseFinalizedFeature](text, int16s, int16s),
		}),
	}},
	saslAuthenticateKey: {flexible: 2, fields: []field{int16s, text, blob, since(1, int64s)}},
	consumerGroupsKey: {flexible: 0, fields: []field{
		int32s,
		list[kmsg.ConsumerGroupDescribeResponseGroup](
			int16s, text, text, text, int32s, int32s, text,
			atMost(mostMembers, "members", list[kmsg.ConsumerGroupDescribeResponseGroupMember](
				text, text, text, int32s, text, text, list[string](text), text, assigned, assigned, since(1, int8s),
			)),
			int32s,
		),
	}},
}

// never is the flexible version of layouts that have none.
const never = 1<<15 - 1

// layout says what an answer is made of.
type layout struct {
	flexible int16 // the first version with tags and short lengths
	fields   []field
}

// check walks through an answer in a version: one without an error can be decoded
// within bounds. It returns the bytes of memory that its lists take then.
func (l layout) check(body []byte, version int16) (int, error) {
	return l.follow(&walk{rest: body, version: version, flexible: version >= l.flexible})
}

// checkTagged is check for an answer with tags in front where it may have some.
func (l layout) checkTagged(body []byte, version int16) (int, error) {
	w := &walk{rest: body, version: version, flexible: version >= l.flexible}
	w.tags()
	return l.follow(w)
}

func (l layout) follow(w *walk) (int, error) {
	w.fields(l.fields)
	w.tags()
	return w.decoded, w.err
}

// field walks over one field.
type field func(*walk)

// walk is the way through one answer.
type walk struct {
	rest     []byte
	version  int16
	flexible bool
	decoded  int           // bytes of memory that the lists so far take
	tagged   int           // bytes in tags so far
	known    map[int]field // tags of the structure whose fields come now
	err      error
}

var errShort = errors.New("the broker announced more than it sent")

func (w *walk) fail(err error) { w.rest, w.err = nil, err }

func (w *walk) fields(fields []field) {
	for _, f := range fields {
		if w.err != nil {
			return
		}
		f(w)
	}
}

// skip walks over n bytes; less than 0 is a null.
func (w *walk) skip(n int) {
	if n > len(w.rest) {
		w.fail(errShort)
		return
	}
	w.rest = w.rest[max(n, 0):]
}

func (w *walk) uvarint() int {
	n, size := binary.Uvarint(w.rest)
	if size <= 0 || size > binary.MaxVarintLen32 || n > 1<<31-1 {
		w.fail(errShort)
		return 0
	}
	w.rest = w.rest[size:]
	return int(n)
}

// length reads a length of the older kind, of so many bytes, or one of the newer.
func (w *walk) length(size int) int {
	if w.flexible {
		return w.uvarint() - 1
	}
	at := w.rest
	if w.skip(size); w.err != nil {
		return 0
	}
	if size == 2 {
		return int(int16(binary.BigEndian.Uint16(at)))
	}
	return int(int32(binary.BigEndian.Uint32(at)))
}

// tags walks over what a structure has beside its layout: none of it matters
// here, but the client decodes the tags that it knows.
func (w *walk) tags() {
	known := w.known
	w.known = nil
	if !w.flexible || w.err != nil {
		return
	}
	count := w.uvarint()
	for range min(count, mostTags) {
		tag, size := w.uvarint(), w.uvarint()
		start := w.rest
		w.tagged += size
		if w.skip(size); w.err != nil {
			return
		}
		if f := known[tag]; f != nil {
			w.within(start[:size], f)
		}
	}
	if count > mostTags || w.tagged > mostTagged {
		w.fail(errors.New("the broker sent too many tagged fields"))
	}
}

// within walks over a field that stands in bytes of its own.
func (w *walk) within(bytes []byte, f field) {
	rest := w.rest
	w.rest = bytes
	f(w)
	if w.err == nil {
		w.rest = rest
	}
}

func fixed(n int) field { return func(w *walk) { w.skip(n) } }

var (
	int8s, int16s, int32s, int64s, uuid = fixed(1), fixed(2), fixed(4), fixed(8), fixed(16)

	text field = func(w *walk) { w.skip(w.length(2)) }
	// topic is the name of one, which is kept.
	topic field = func(w *walk) {
		n := w.length(2)
		if n > longestTopic {
			w.fail(fmt.Errorf("the broker named a topic with more than %d bytes", longestTopic))
		}
		w.skip(n)
	}
	// host is the name or the rack of a broker.
	host field = func(w *walk) {
		n := w.length(2)
		if n > longestHost {
			w.fail(fmt.Errorf("the broker named one with a text of more than %d bytes", longestHost))
			return
		}
		w.skip(n)
	}
	blob field = func(w *walk) { w.skip(w.length(4)) }

	// assigned is an Assignment of the newer group protocol.
	assigned = structure(list[kmsg.AssignmentTopicPartition](uuid, text, list[int32](int32s)))
)

// structure is some fields with tags.
func structure(fields ...field) field {
	return func(w *walk) {
		w.fields(fields)
		w.tags()
	}
}

// tagged says what tags of a structure are made of. It stands last of its fields.
func tagged(known map[int]field) field { return func(w *walk) { w.known = known } }

// since are fields that came with a version.
func since(version int16, fields ...field) field {
	return func(w *walk) {
		if w.version >= version {
			w.fields(fields)
		}
	}
}

// upTo are fields that went after a version.
func upTo(version int16, fields ...field) field {
	return func(w *walk) {
		if w.version <= version {
			w.fields(fields)
		}
	}
}

// list is a list of T, as the client decodes it.
func list[T any](fields ...field) field {
	kind := reflect.TypeFor[T]()
	element := structure(fields...)
	if kind.Kind() != reflect.Struct {
		element = fields[0]
	}
	return func(w *walk) {
		n := w.length(4)
		if n > len(w.rest) { // no element is smaller than a byte
			w.fail(errShort)
			return
		}
		if w.decoded += max(n, 0) * int(kind.Size()); w.decoded > mostDecoded {
			w.fail(fmt.Errorf("the broker sent an answer that takes more than %d bytes", mostDecoded))
			return
		}
		for ; n > 0 && w.err == nil; n-- {
			element(w)
		}
	}
}

// atMost bounds a list further.
func atMost(most int, what string, f field) field {
	return func(w *walk) {
		ahead := *w
		if ahead.length(4) > most {
			w.fail(fmt.Errorf("the broker sent more than %d %s", most, what))
			return
		}
		f(w)
	}
}

// assignedOf decodes what a consumer was assigned; it is false for anything else.
// The assignment has a layout of its own within an answer, which only groups of
// consumers use.
func assignedOf(member kmsg.DescribeGroupsResponseGroupMember) (assigned kmsg.ConsumerMemberAssignment, ok bool) {
	assignment := layout{flexible: never, fields: []field{
		int16s, list[kmsg.ConsumerMemberAssignmentTopic](text, list[int32](int32s)), blob,
	}}
	if _, err := assignment.check(member.MemberAssignment, 0); err != nil {
		return assigned, false
	}
	return assigned, assigned.ReadFrom(member.MemberAssignment) == nil
}
