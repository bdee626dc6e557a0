package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials/google"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// storage scales on the objects in a bucket of Cloud Storage that are not empty.
var storage = scaler.Define("gcp-storage", openStorage, scaler.OnNoData(scaler.NoDataZero))

// storageParams is the metadata of a gcp-storage trigger.
type storageParams struct {
	identityParams

	// BucketName is the bucket. One that does not exist has no objects.
	BucketName string `param:"bucketName,required"`
	// TargetObjectCount is the target.
	TargetObjectCount int64 `param:"targetObjectCount" default:"100" role:"target" unit:"objects"`
	// ActivationTargetObjectCount is the activation threshold.
	ActivationTargetObjectCount int64 `param:"activationTargetObjectCount" default:"0" role:"activation" unit:"objects"`
	// MaxBucketItemsToScan is the most that is counted, and so the largest value.
	// Empty objects are looked at beside it, as far as there is time.
	MaxBucketItemsToScan int64 `param:"maxBucketItemsToScan" default:"1000" unit:"objects"`
	// BlobPrefix is what the names of objects begin with.
	BlobPrefix string `param:"blobPrefix"`
	// BlobDelimiter leaves out objects with this text behind the prefix, such as /
	// for those in folders.
	BlobDelimiter string `param:"blobDelimiter"`
}

// Validate checks the numbers.
func (p storageParams) Validate() error {
	problems := []error{p.checkIdentity()}
	for _, positive := range []struct {
		name  string
		value int64
	}{{"targetObjectCount", p.TargetObjectCount}, {"maxBucketItemsToScan", p.MaxBucketItemsToScan}} {
		if positive.value <= 0 {
			problems = append(problems, fmt.Errorf("%s: %d is not greater than 0", positive.name, positive.value))
		}
	}
	if p.BucketName == "." || p.BucketName == ".." {
		problems = append(problems, errors.New("bucketName: is not the name of a bucket"))
	}
	if p.ActivationTargetObjectCount < 0 {
		problems = append(problems, fmt.Errorf("activationTargetObjectCount: %d is less than 0", p.ActivationTargetObjectCount))
	}
	return errors.Join(problems...)
}

// Name is that of the bucket.
func (p storageParams) Name() string { return scaler.MetricName("gcp-storage", p.BucketName) }

// storageEmulator is the variable that names an emulator, as Google's clients read
// it: a host and port, or a URL. It gets no token.
const storageEmulator = "STORAGE_EMULATOR_HOST"

// storageURL is where Cloud Storage answers, and whether that is an emulator.
func storageURL() (address string, emulator bool) {
	if host := os.Getenv(storageEmulator); host != "" {
		if !strings.Contains(host, "://") {
			host = "http://" + host
		}
		return strings.TrimSuffix(host, "/"), true
	}
	return storageAt.url(), false
}

// storageSource counts the objects of one bucket.
type storageSource struct {
	http    *client.HTTPClient
	listing string // the address of the first page
	what    string
	most    int64
	missing atomic.Bool // it was said that there is no such bucket

	account *google.Account // nil for an emulator
	token   string          // of the last request
}

const (
	// mostStoragePage bounds a page of 1,000 sizes and a token, in bytes.
	mostStoragePage = 1 << 20
	// objectsPerPage is the most that Google has in one.
	objectsPerPage = 1000
)

func openStorage(ctx context.Context, p storageParams) (scaler.Source, error) {
	address, emulator := storageURL()
	options := client.HTTPOptions{MaxAnswer: mostStoragePage}
	var err error
	if options.Account, err = p.quota(ctx, lending.GoogleStorage.String(), p.BucketName); err != nil {
		return nil, err
	}
	s := &storageSource{what: "bucket " + p.BucketName, most: p.MaxBucketItemsToScan}
	if !emulator {
		if s.account, err = p.account(ctx, lending.GoogleStorage, storageAt); err != nil {
			return nil, err
		}
		options.Authorize = s.authorize
	}
	query := url.Values{
		"fields": {"items(size),nextPageToken"}, "maxResults": {strconv.Itoa(objectsPerPage)},
		"prefix": {p.BlobPrefix}, "delimiter": {p.BlobDelimiter},
	}
	for name, value := range query {
		if value[0] == "" {
			query.Del(name)
		}
	}
	s.listing = address + "/storage/v1/b/" + url.PathEscape(p.BucketName) + "/o?" + query.Encode()
	s.http, err = client.HTTP(ctx, options)
	return s, err
}

// authorize adds the token of the account.
func (s *storageSource) authorize(request *http.Request) error {
	token, err := s.account.TokenIn(request.Context())
	if err != nil {
		return google.Failure(lending.GoogleStorage.String(), err)
	}
	token.SetAuthHeader(request)
	s.token = token.AccessToken
	return nil
}

// Read counts the objects that are not empty.
func (s *storageSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	var count int64
	for token := ""; ; {
		page, err := s.page(ctx, token)
		switch {
		case client.NotFound(err):
			if !s.missing.Swap(true) {
				slog.Warn("a bucket does not exist, and so has no objects", "source", s.what)
			}
			return nil, fmt.Errorf("%s: it does not exist: %w", s.what, scaler.ErrNoData)
		case err != nil:
			return nil, scaler.Errorf(status.Code(err), "%s: %w", s.what, err)
		}
		s.missing.Store(false)
		counted, err := page.count()
		if err != nil {
			return nil, scaler.Errorf(codes.Unavailable, "%s: %w", s.what, err)
		}
		if count += counted; count >= s.most || page.Next == "" {
			return scaler.One(float64(min(count, s.most))), nil
		}
		token = page.Next
	}
}

// objects is a page of a listing.
type objects struct {
	Items []struct {
		Size string `json:"size"`
	} `json:"items"`
	Next string `json:"nextPageToken"`
}

// count is how many objects of a page are not empty.
func (o *objects) count() (int64, error) {
	var n int64
	for _, item := range o.Items {
		size, err := strconv.ParseUint(cmp.Or(item.Size, "0"), 10, 64)
		if err != nil {
			return 0, errors.New("the size of an object is no number")
		}
		if size > 0 {
			n++
		}
	}
	return n, nil
}

// page asks for one page.
func (s *storageSource) page(ctx context.Context, token string) (*objects, error) {
	address := s.listing
	if token != "" {
		address += "&pageToken=" + url.QueryEscape(token)
	}
	held, release := client.Held(ctx)
	defer release()
	body, err := s.http.Get(held, address)
	if status.Code(err) == codes.Unauthenticated && s.account != nil {
		s.account.Forget(s.token)
	}
	if err != nil {
		return nil, err
	}
	return client.Understand(held, body, func(func() error) (*objects, error) { // a megabyte at the most
		page := &objects{}
		if json.Unmarshal(body, page) != nil {
			return nil, scaler.Errorf(codes.Unavailable, "the answer of %s cannot be understood", lending.GoogleStorage)
		}
		return page, nil
	})
}
