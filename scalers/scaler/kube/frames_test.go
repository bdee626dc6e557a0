package kube

import (
	"bytes"
	"io"
	"runtime"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	restwatch "k8s.io/client-go/rest/watch"
)

// watchOf is what an API server sends of ConfigMaps with so many bytes each.
func watchOf(t *testing.T, mediaType string, sizes ...int) []byte {
	t.Helper()
	info, ok := apiruntime.SerializerInfoForMediaType(serializer.NewCodecFactory(known).SupportedMediaTypes(), mediaType)
	if !ok {
		t.Fatal("nobody speaks " + mediaType)
	}
	var sent bytes.Buffer
	frames := info.StreamSerializer.NewFrameWriter(&sent)
	for _, size := range sizes {
		var object, event bytes.Buffer
		c := &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, BinaryData: map[string][]byte{"x": bytes.Repeat([]byte("x"), size)},
		}
		if err := info.Serializer.Encode(c, &object); err != nil {
			t.Fatal(err)
		}
		sending := &metav1.WatchEvent{Type: string(watch.Added), Object: apiruntime.RawExtension{Raw: object.Bytes()}}
		if err := info.StreamSerializer.Encode(sending, &event); err != nil {
			t.Fatal(err)
		}
		if _, err := frames.Write(event.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return sent.Bytes()
}

// watcher reads events as the library does.
func watcher(t *testing.T, with apiruntime.NegotiatedSerializer, mediaType string, from io.Reader) *restwatch.Decoder {
	t.Helper()
	objects, events, framer, err := apiruntime.NewClientNegotiator(with, corev1.SchemeGroupVersion).StreamDecoder(mediaType, nil)
	if err != nil {
		t.Fatal(err)
	}
	return restwatch.NewDecoder(streaming.NewDecoder(framer.NewFrameReader(io.NopCloser(from)), events), objects)
}

var spoken = []string{"application/json", "application/vnd.kubernetes.protobuf"}

// TestWatchesKeepNothingOfEvents: one large object came over each of many watches,
// which last and have no bytes of it.
func TestWatchesKeepNothingOfEvents(t *testing.T) {
	const watches, large = 30, 1 << 20
	for _, mediaType := range spoken {
		t.Run(mediaType, func(t *testing.T) {
			sent := watchOf(t, mediaType, 10, large, 10, large)
			held := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := held()
			all := make([]*restwatch.Decoder, watches)
			var watching sync.WaitGroup
			lasts, ended := make(chan struct{}, watches), make(chan struct{})
			for i := range all {
				from := io.MultiReader(bytes.NewReader(sent), lasting{lasts, ended})
				all[i] = watcher(t, lean{serializer.NewCodecFactory(known).WithoutConversion()}, mediaType, from)
				watching.Go(func() {
					for range 4 {
						if _, _, err := all[i].Decode(); err != nil {
							t.Error(err)
						}
					}
					_, _, _ = all[i].Decode()
				})
			}
			for range all {
				<-lasts
			}
			defer watching.Wait()
			defer close(ended)
			if grown := int64(held()) - int64(before); grown > watches*large/4 {
				t.Errorf("%d watches keep %d KiB each", watches, grown/watches>>10)
			}
			runtime.KeepAlive(all)
		})
	}
}

// lasting is a watch over which nothing more comes until it ends.
type lasting struct{ lasts, ended chan struct{} }

func (l lasting) Read([]byte) (int, error) {
	l.lasts <- struct{}{}
	<-l.ended
	return 0, io.EOF
}

// TestLargeEventsAreFewAtOnce: of the events that come over many watches at once, few
// stand in memory, and a watch that ends keeps no other waiting.
func TestLargeEventsAreFewAtOnce(t *testing.T) {
	for _, mediaType := range spoken {
		t.Run(mediaType, func(t *testing.T) {
			sent := watchOf(t, mediaType, 1<<20, 10)
			info, ok := apiruntime.SerializerInfoForMediaType(lean{serializer.NewCodecFactory(known).WithoutConversion()}.SupportedMediaTypes(), mediaType)
			if !ok {
				t.Fatal("nobody speaks " + mediaType)
			}
			watch := func() io.ReadCloser {
				return info.StreamSerializer.NewFrameReader(io.NopCloser(bytes.NewReader(sent)))
			}
			number := make([]byte, bytesOfNumber)
			var holding []io.ReadCloser
			for range cap(largeEvents) {
				holding = append(holding, watch())
				if _, err := holding[len(holding)-1].Read(number); err != nil {
					t.Fatal(err)
				}
			}
			waiting, ends := watch(), watch()
			came := make(chan error, 2)
			read := func(of io.Reader) {
				_, err := of.Read(make([]byte, bytesOfNumber))
				came <- err
			}
			go read(ends)
			if err := ends.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-came; err == nil {
				t.Error("an event of a watch that has ended")
			}
			go read(waiting)
			if _, err := holding[0].Read(number); err != nil { // something was made of it
				t.Fatal(err)
			}
			if err := <-came; err != nil {
				t.Error(err)
			}
			for _, watch := range append(holding, waiting) {
				if err := watch.Close(); err != nil {
					t.Error(err)
				}
			}
			if n := len(largeEvents); n != 0 {
				t.Errorf("%d places are lost", n)
			}
		})
	}
}

// TestEventsOfAnySize come one after another as they were sent, whatever of them one
// read of the connection brings, and a half one is none.
func TestEventsOfAnySize(t *testing.T) {
	sizes := []int{0, 1, usualEvent - 200, usualEvent, 3 * usualEvent, 1 << 20, 5, 100_000, 100_000, 7}
	for _, mediaType := range spoken {
		t.Run(mediaType, func(t *testing.T) {
			sent := watchOf(t, mediaType, sizes...)
			for name, from := range map[string]io.Reader{
				"at once": bytes.NewReader(sent), "in pieces": &piecesOf{sent, 1000}, "byte by byte": &piecesOf{sent, 1},
				"broken off": io.LimitReader(bytes.NewReader(sent), int64(len(sent)-3)),
			} {
				events := watcher(t, lean{serializer.NewCodecFactory(known).WithoutConversion()}, mediaType, from)
				for i, size := range sizes {
					kind, object, err := events.Decode()
					if name == "broken off" && i == len(sizes)-1 {
						if err == nil {
							t.Error("half an event is one")
						}
						break
					}
					if err != nil {
						t.Fatalf("%s, event %d: %v", name, i, err)
					}
					if got := len(object.(*corev1.ConfigMap).BinaryData["x"]); kind != watch.Added || got != size {
						t.Errorf("%s, event %d: %s of %d bytes, want %d", name, i, kind, got, size)
					}
				}
				if _, _, err := events.Decode(); err == nil {
					t.Errorf("%s: an event more", name)
				}
			}
		})
	}
}

// piecesOf brings a text by so many bytes.
type piecesOf struct {
	text []byte
	size int
}

func (p *piecesOf) Read(into []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(into, p.text[:min(len(p.text), p.size)])
	p.text = p.text[n:]
	return n, nil
}
