package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// A family whose service counts requests by key makes them on an account. The
// source that is throttled, and every other with the same key, says so without a
// request until the time is over; sources with another key do not notice.
func ExampleAccountOf() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("asked with", r.Header.Get("Key"))
		if r.Header.Get("Key") == "busy" {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer service.Close()

	ctx, release := scaler.Opening(context.Background())
	defer release()
	connect := func(key string) (*client.HTTPClient, error) {
		return client.Shared(ctx, []any{service.URL, key}, func(ctx context.Context) (*client.HTTPClient, error) {
			account, err := client.AccountOf(ctx, []any{service.URL, key})
			if err != nil {
				return nil, err
			}
			return client.HTTP(ctx, client.HTTPOptions{Account: account, Authorize: func(r *http.Request) error {
				r.Header.Set("Key", key)
				return nil
			}})
		})
	}
	for _, key := range []string{"busy", "busy", "idle"} {
		c, err := connect(key)
		if err != nil {
			fmt.Println(err)
			return
		}
		_, err = c.Get(ctx, service.URL)
		var throttled *client.AccountError
		fmt.Println(key, "is throttled:", errors.As(err, &throttled))
	}
	// Output:
	// asked with busy
	// busy is throttled: true
	// busy is throttled: true
	// asked with idle
	// idle is throttled: false
}
