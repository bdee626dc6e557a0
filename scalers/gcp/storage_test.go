package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// bucketed is a Cloud Storage of fake-gcs-server, which checks who asks as Google
// does: that needs a token that may read objects.
func (c *cloud) bucketed(t testing.TB, objects ...string) {
	t.Helper()
	initial := []fakestorage.Object{{ObjectAttrs: fakestorage.ObjectAttrs{BucketName: "void", Name: "empty"}}}
	for _, name := range objects {
		o := fakestorage.Object{ObjectAttrs: fakestorage.ObjectAttrs{BucketName: "orders", Name: name}, Content: []byte("work")}
		if strings.HasSuffix(name, "/") || strings.HasSuffix(name, "empty") {
			o.Content = nil
		}
		initial = append(initial, o)
	}
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, InitialObjects: initial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Stop)
	c.stored(t, fake.HTTPHandler().ServeHTTP)
}

// stored has a handler answer as Cloud Storage, once it is clear who asks.
func (c *cloud) stored(t testing.TB, answer http.HandlerFunc) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, good := c.issuer.Check(r.Header.Get("Authorization"))
		switch {
		case !good:
			http.Error(w, `{"error":{"code":401,"message":"hush-hush"}}`, http.StatusUnauthorized)
		case token.Scope != "https://www.googleapis.com/auth/devstorage.read_only", token.Account != reader:
			http.Error(w, `{"error":{"code":403,"message":"hush-hush"}}`, http.StatusForbidden)
		default:
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	askAt(t, &storageAt, strings.TrimPrefix(s.URL, "http://"))
}

func TestStorage(t *testing.T) {
	c := newCloud(t)
	names := []string{"a", "b", "done/", "done/c", "done/d", "done/deep/e", "an-empty"}
	for i := range 5 {
		names = append(names, fmt.Sprintf("many/%d", i))
	}
	c.bucketed(t, names...)
	stranger, err := c.issuer.Key("stranger@shop.iam.gserviceaccount.com", "shop")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		metadata map[string]string
		auth     map[string]string
		value    float64
		code     codes.Code
		message  string
	}{
		"all that is not empty":      {value: 10},
		"a prefix":                   {metadata: map[string]string{"blobPrefix": "done/"}, value: 3},
		"a prefix and a delimiter":   {metadata: map[string]string{"blobPrefix": "done/", "blobDelimiter": "/"}, value: 2},
		"a delimiter":                {metadata: map[string]string{"blobDelimiter": "/"}, value: 2},
		"a limit":                    {metadata: map[string]string{"maxBucketItemsToScan": "4"}, value: 4},
		"empty objects alone":        {metadata: map[string]string{"bucketName": "void"}},
		"a bucket that is not there": {metadata: map[string]string{"bucketName": "nothing"}},
		"no permission":              {auth: map[string]string{"GoogleApplicationCredentials": stranger}, code: codes.PermissionDenied},
		"no bucket":                  {metadata: map[string]string{"bucketName": " "}, code: codes.InvalidArgument, message: "bucketName"},
		"no target":                  {metadata: map[string]string{"targetObjectCount": "0"}, code: codes.InvalidArgument, message: "targetObjectCount: target 0 is not greater than 0"},
		"a target below nothing":     {metadata: map[string]string{"targetObjectCount": "-1"}, code: codes.InvalidArgument, message: "targetObjectCount: target -1 is not greater than 0"},
		"other numbers":              {metadata: map[string]string{"activationTargetObjectCount": "-2", "maxBucketItemsToScan": "0"}, code: codes.InvalidArgument, message: "maxBucketItemsToScan: 0 is not greater than 0; activationTargetObjectCount: -2 is less than 0"},
		"a fraction":                 {metadata: map[string]string{"targetObjectCount": "1.5"}, code: codes.InvalidArgument},
	}
	family := scalertest.Serve(t, triggers...)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			auth := c.auth()
			if tt.auth != nil {
				auth = tt.auth
			}
			got, err := family.WithAuth(auth).Observe(within(t), "gcp-storage", with(map[string]string{"bucketName": "orders"}, tt.metadata))
			if status.Code(err) != tt.code || err == nil && got.Value != tt.value || err != nil && strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("observation = %+v, %v, want %v, %v", got, err, tt.value, tt.code)
			}
			if err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error = %v, want %s", err, tt.message)
			}
		})
	}
	specs, err := family.WithAuth(c.auth()).Specs(within(t), "gcp-storage", map[string]string{"bucketName": "a.b"})
	if err != nil || specs[0].GetMetricName() != "gcp-storage-a-b" || specs[0].GetTargetSizeFloat() != 100 {
		t.Errorf("%v, %v", specs, err)
	}
}

// TestStorageEmulator is asked by nobody.
func TestStorageEmulator(t *testing.T) {
	c := newCloud(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the emulator is sent a token")
		}
		fmt.Fprint(w, `{"items":[{"size":"1"},{"size":"0"},{}]}`)
	}))
	defer s.Close()
	for _, host := range []string{s.URL, strings.TrimPrefix(s.URL, "http://")} {
		t.Setenv("STORAGE_EMULATOR_HOST", host)
		got, err := scalertest.Serve(t, triggers...).WithAuth(c.auth()).Observe(within(t), "gcp-storage", map[string]string{"bucketName": "orders"})
		if err != nil || got.Value != 1 {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
}

// TestStorageAnswers has pages, pages without end, and answers that are none.
func TestStorageAnswers(t *testing.T) {
	c := newCloud(t)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		value  float64
		code   codes.Code
		text   string
	}{
		"pages": {answer: func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("pageToken") == "" {
				fmt.Fprint(w, `{"items":[{"size":"5"}],"nextPageToken":"a/b+c="}`)
			} else if r.URL.Query().Get("pageToken") == "a/b+c=" {
				fmt.Fprint(w, `{"items":[{"size":"6"}]}`)
			}
		}, value: 2},
		"pages without end": {answer: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"items":[{"size":"0"}],"nextPageToken":"x"}`)
		}, code: codes.DeadlineExceeded},
		"half an answer":     {answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[{"si`) }, code: codes.Unavailable, text: "cannot be understood"},
		"a page of somebody": {answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `<html>`) }, code: codes.Unavailable, text: "cannot be understood"},
		"a size of words":    {answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[{"size":"big"}]}`) }, code: codes.Unavailable, text: "is no number"},
		"more than a page": {answer: func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"nextPageToken":"`+strings.Repeat("x", mostStoragePage)+`"}`)
		}, code: codes.Unavailable, text: "larger than"},
		"an error": {answer: func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "hush-hush", http.StatusInternalServerError)
		}, code: codes.Unavailable, text: "500"},
		"throttled": {answer: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hush-hush", http.StatusTooManyRequests) }, code: codes.ResourceExhausted, text: "it is not asked again before"},
	} {
		t.Run(name, func(t *testing.T) {
			c.stored(t, tt.answer)
			bucket := strings.ReplaceAll(name, " ", "-") // one that is throttled rests
			source := c.opener(t)(subject{Trigger: storage, metadata: map[string]string{"bucketName": bucket}})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			got, err := source.Read(ctx)
			if status.Code(err) != tt.code || err == nil && got[0].Value != tt.value || err != nil && strings.Contains(err.Error(), "hush-hush") {
				t.Errorf("read %v, %v, want %v, %v", got, err, tt.value, tt.code)
			}
			if err != nil && (!strings.HasPrefix(status.Convert(err).Message(), "bucket "+bucket+": ") || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("error = %v, want %s", err, tt.text)
			}
		})
	}
}

// TestStorageTokensThatAreRefused are replaced.
func TestStorageTokensThatAreRefused(t *testing.T) {
	c := newCloud(t)
	c.stored(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[{"size":"5"}]}`) })
	source := c.opener(t)(subject{Trigger: storage, metadata: map[string]string{"bucketName": "orders"}})
	for i, want := range []codes.Code{codes.OK, codes.Unauthenticated, codes.OK} {
		if _, err := source.Read(within(t)); status.Code(err) != want {
			t.Errorf("%d: %v, want %v", i, err, want)
		}
		if i == 0 {
			c.issuer.Revoke()
		}
	}
}
