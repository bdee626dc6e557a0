package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// watchSeconds is how long the API server keeps a watch open before it is begun
// anew.
const watchSeconds = "600"

// WatchSecret follows the Secret of an identity, at the API server and as the
// user that client and server are made for. It needs watch on that name and no
// other right.
func WatchSecret(client *http.Client, server *url.URL, who Identity, installation string) Watch {
	query := url.Values{
		"watch": {"true"}, "fieldSelector": {"metadata.name=" + who.Secret()}, "timeoutSeconds": {watchSeconds},
	}
	// Without a resource version the watch begins with what there is.
	address := server.JoinPath("api/v1/namespaces", installation, "secrets").String() + "?" + query.Encode()
	return func(ctx context.Context, deliver func(map[string][]byte)) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		request.Header.Set("Accept", "application/json")
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return refusal(response)
		}
		return readEvents(response.Body, deliver)
	}
}

// status is how the API server says what is wrong.
type status struct {
	Message string `json:"message"`
}

func refusal(response *http.Response) error {
	var s status
	if json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&s) != nil || s.Message == "" {
		return fmt.Errorf("the API server answers %s", response.Status)
	}
	return errors.New(s.Message)
}

func readEvents(from io.Reader, deliver func(map[string][]byte)) error {
	for decoder := json.NewDecoder(from); ; {
		var event struct {
			Type   string `json:"type"`
			Object struct {
				status
				Data map[string][]byte `json:"data"`
			} `json:"object"`
		}
		if err := decoder.Decode(&event); err != nil {
			var malformed *json.SyntaxError
			if errors.As(err, &malformed) {
				// The decoder's words may quote the object.
				return errors.New("the API server's answer is no event")
			}
			return nil // the watch has ended
		}
		switch event.Type {
		case "ADDED", "MODIFIED":
			deliver(event.Object.Data)
		case "ERROR":
			return errors.New(event.Object.Message)
		}
	}
}
