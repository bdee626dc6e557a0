package kube

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A watch of the library reads each event into a buffer that it doubles until the
// event fits in, and keeps for as long as the watch lasts: somebody who may edit one
// ConfigMap would have two megabytes of each that is watched. So events are read
// here, and the library's buffer has nothing but the number of one.

// lean is a serializer whose watches keep nothing of an event once it was decoded.
type lean struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (l lean) SupportedMediaTypes() []runtime.SerializerInfo {
	types := slices.Clone(l.NegotiatedSerializer.SupportedMediaTypes())
	for i := range types {
		if types[i].StreamSerializer == nil {
			continue
		}
		stream, taken := *types[i].StreamSerializer, &events{texts: map[uint64][]byte{}}
		stream.Framer = leanFramer{stream.Framer, strings.HasSuffix(types[i].MediaTypeSubType, "json"), taken}
		stream.Serializer = leanSerializer{stream.Serializer, taken}
		types[i].StreamSerializer = &stream
	}
	return types
}

// events are those between being read and being decoded, by a number.
type events struct {
	mu    sync.Mutex
	next  uint64
	texts map[uint64][]byte
}

func (e *events) put(text []byte) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	e.texts[e.next] = text
	return e.next
}

func (e *events) take(number uint64) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := e.texts[number]
	delete(e.texts, number)
	return text
}

// leanFramer reads events whole.
type leanFramer struct {
	runtime.Framer

	isJSON bool
	events *events
}

// NewFrameReader implements runtime.Framer.
func (f leanFramer) NewFrameReader(from io.ReadCloser) io.ReadCloser {
	frames := &frames{from: from, events: f.events, closed: make(chan struct{})}
	if f.isJSON {
		frames.next = (&jsonFrames{from: from, large: frames.large}).next
	} else {
		frames.next = wholeFrames{f.Framer.NewFrameReader(from), frames.large}.next
	}
	return frames
}

// frames has the numbers of events in place of their texts.
type frames struct {
	from   io.Closer
	next   func() ([]byte, error)
	events *events

	mu     sync.Mutex
	holds  bool // a place of those for large events
	once   sync.Once
	closed chan struct{}
}

// largeEvent is an event that waits for its turn: what is made of it takes up to ten
// times its text, and after a start all that is watched comes at once.
const largeEvent = 64 << 10

// largeEvents has the turns.
var largeEvents = make(chan struct{}, 2)

// large waits for the turn of a large event, which lasts until the next one is asked
// for: until something was made of it.
func (f *frames) large() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holds {
		return nil
	}
	select {
	case <-f.closed:
		return io.ErrClosedPipe
	default:
	}
	select {
	case largeEvents <- struct{}{}:
		f.holds = true
		return nil
	case <-f.closed:
		return io.ErrClosedPipe
	}
}

// rest gives the turn back.
func (f *frames) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.holds {
		f.holds = false
		<-largeEvents
	}
}

// Close implements io.Closer.
func (f *frames) Close() error {
	f.once.Do(func() { close(f.closed) })
	err := f.from.Close()
	f.rest()
	return err
}

const bytesOfNumber = 8

// Read implements io.Reader as the library has it: one event for each call.
func (f *frames) Read(into []byte) (int, error) {
	if len(into) < bytesOfNumber {
		return 0, io.ErrShortBuffer
	}
	f.rest()
	text, err := f.next()
	if err != nil {
		f.rest()
		return 0, err
	}
	binary.BigEndian.PutUint64(into, f.events.put(text))
	return bytesOfNumber, nil
}

const (
	// mostOfEvent is what an event may have: the library's bound.
	mostOfEvent = 16 << 20
	// usualEvent is how much a buffer has before it is known what an event needs.
	usualEvent = 4 << 10
)

var errLargeEvent = errors.New("an event of a watch is too large")

// wholeFrames reads frames of a reader that keeps nothing of them.
type wholeFrames struct {
	from  io.Reader
	large func() error
}

func (f wholeFrames) next() ([]byte, error) {
	text := make([]byte, usualEvent)
	for read := 0; ; {
		n, err := f.from.Read(text[read:])
		read += n
		switch {
		case err == nil:
			return text[:read], nil
		case !errors.Is(err, io.ErrShortBuffer):
			return nil, err
		case len(text) >= mostOfEvent:
			return nil, errLargeEvent
		case len(text) >= largeEvent:
			if err := f.large(); err != nil {
				return nil, err
			}
		}
		text = append(text, make([]byte, len(text))...)
	}
}

// jsonFrames reads values of JSON one after another. Its decoder, whose buffer grows
// with them, goes after a large one.
type jsonFrames struct {
	from    io.Reader
	decoder *json.Decoder // nil where the next one begins
	large   func() error
}

func (f *jsonFrames) next() ([]byte, error) {
	if f.decoder == nil {
		f.decoder = json.NewDecoder(f.from)
	}
	var text json.RawMessage
	if err := f.decoder.Decode(&text); err != nil {
		return nil, err
	}
	if len(text) > usualEvent {
		rest, err := io.ReadAll(f.decoder.Buffered())
		if err != nil {
			return nil, err
		}
		f.from, f.decoder = io.MultiReader(bytes.NewReader(rest), f.from), nil
	}
	if len(text) > mostOfEvent {
		return nil, errLargeEvent
	}
	if len(text) > largeEvent {
		return text, f.large()
	}
	return text, nil
}

// leanSerializer decodes the events whose numbers it is given.
type leanSerializer struct {
	runtime.Serializer

	events *events
}

// Decode implements runtime.Decoder.
func (s leanSerializer) Decode(number []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if len(number) != bytesOfNumber {
		return nil, nil, errors.New("an event of a watch is lost")
	}
	return s.Serializer.Decode(s.events.take(binary.BigEndian.Uint64(number)), defaults, into)
}
