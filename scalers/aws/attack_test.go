package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// readAt reads a trigger whose service is at an address.
func readAt(t testing.TB, s subject, address string, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := s.openAt(t, address).Read(ctx)
	return err
}

// TestAnswersWithoutMeasure has a service of every type send more than anybody
// needs, with a good answer and with a refusal. The reading fails, and takes no
// more memory than a page may.
func TestAnswersWithoutMeasure(t *testing.T) {
	const much = 128 << 20
	repeat := func(w io.Writer, text string) {
		piece := bytes.Repeat([]byte(text), 1+(16<<10)/len(text))
		for sent := 0; sent < much; sent += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
	var packed bytes.Buffer
	packer := gzip.NewWriter(&packed)
	repeat(packer, " ")
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]func(http.ResponseWriter){
		"a text": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"Attributes":{"A":"`))
			repeat(w, "x")
		},
		"lists in lists": func(w http.ResponseWriter) { repeat(w, "[") },
		"CBOR": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/cbor")
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			repeat(w, "\x9f\xf6\xf6\xf6")
		},
		"CBOR in CBOR": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/cbor")
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			repeat(w, "\x81")
		},
		"XML in XML": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/xml")
			repeat(w, "<a>")
		},
		"a packed body": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(packed.Bytes())
		},
	} {
		for _, code := range []int{http.StatusOK, http.StatusBadRequest} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/x-amz-json-1.0")
				body(delayed{w, code})
			}))
			for _, s := range typesOn("orders") {
				t.Run(name+" "+http.StatusText(code)+" "+s.Type, func(t *testing.T) {
					before := scalertest.Allocated()
					if err := readAt(t, s, server.URL, 20*time.Second); err == nil || status.Code(err) == codes.OK {
						t.Errorf("error = %v", err)
					}
					if took := scalertest.Allocated() - before; took > 256<<20 {
						t.Errorf("%d bytes taken", took)
					}
				})
			}
			server.Close()
		}
	}
}

// TestAnswersOfManyValues has a service of every type answer within the bytes that an
// answer may have with as many elements as fit in, of which the library would make a
// hundred times their text. The reading fails before it does.
func TestAnswersOfManyValues(t *testing.T) {
	many := func(before, element string) string {
		const most = 4<<20 - 1<<10
		return before + strings.Repeat(element+",", most/(len(element)+1)) + element + "]}"
	}
	for name, body := range map[string]string{
		"series":       many(`{"MetricDataResults":[`, "{}"),
		"messages":     many(`{"Messages":[`, "{}"),
		"items":        many(`{"Count":1,"Items":[`, "{}"),
		"lists":        many(`{"Count":1,"Items":[`, `{"":{"L":[]}}`),
		"shards":       many(`{"Shards":[`, "{}"),
		"no values":    many(`{"MetricDataResults":[`, "null"),
		"capabilities": many(`{"StreamDescriptionSummary":{"OpenShardCount":1},"EnhancedMonitoring":[`, "{}"),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/x-amz-json-1.0")
			_, _ = io.WriteString(w, body)
		}))
		for _, s := range typesOn("orders") {
			t.Run(name+" "+s.Type, func(t *testing.T) {
				err := readAt(t, s, server.URL, 20*time.Second)
				if err == nil || !strings.Contains(err.Error(), "values") {
					t.Errorf("error = %v, want that there are too many values", err)
				}
			})
		}
		server.Close()
	}
}

// delayed writes its code with the first of the body.
type delayed struct {
	http.ResponseWriter
	code int
}

func (d delayed) Write(p []byte) (int, error) {
	if d.Header().Get("X-Begun") == "" {
		d.Header().Set("X-Begun", "true")
		d.WriteHeader(d.code)
	}
	return d.ResponseWriter.Write(p)
}

// FuzzAnswer has a service of any type answer anything.
func FuzzAnswer(f *testing.F) {
	for i := range typesOn("") {
		for _, body := range []string{
			`{}`, `{"Attributes":{"ApproximateNumberOfMessages":"3"}}`, `{"StreamDescriptionSummary":{"OpenShardCount":3}}`, `{"Count":3,"ScannedCount":3}`,
			`{"Table":{"LatestStreamArn":"arn:aws:x"}}`, `{"__type":"com.amazonaws#Throttling","message":"x"}`, "\xa1\x71MetricDataResults\x81\xa1\x66Values\x81\xf9\x3c\x00",
			`[[[[[[`, `{"Count":1e999}`, `null`,
		} {
			f.Add(uint8(i), uint16(200), "application/x-amz-json-1.0", []byte(body))
			f.Add(uint8(i), uint16(400), "application/cbor", []byte(body))
		}
	}
	var mu sync.Mutex
	var code int
	var kind string
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", kind)
		if strings.Contains(kind, "cbor") {
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		}
		w.WriteHeader(code)
		_, _ = io.Copy(w, bytes.NewReader(body))
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, i uint8, status uint16, contentType string, answer []byte) {
		mu.Lock()
		code, kind, body = 200+int(status)%400, contentType, answer
		mu.Unlock()
		types := typesOn("orders")
		before := scalertest.Allocated()
		_ = readAt(t, types[int(i)%len(types)], server.URL, 300*time.Millisecond) // it ends
		if took := scalertest.Allocated() - before; took > 128<<20 {
			t.Errorf("%d bytes taken", took)
		}
	})
}
