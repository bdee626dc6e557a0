package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// AddVhost creates a vhost that RabbitMQUser may use.
func (r *RabbitMQServer) AddVhost(ctx context.Context, vhost string) error {
	if err := r.Manage(ctx, http.MethodPut, "/api/vhosts/"+url.PathEscape(vhost), nil); err != nil {
		return err
	}
	return r.Grant(ctx, vhost, RabbitMQUser, ".*", ".*", ".*")
}

// AddUser creates a user, or sets its password and tags. tags are RabbitMQ's,
// separated by commas: a user of the management API needs "management" or more.
// A user without a password can log in with a certificate alone.
func (r *RabbitMQServer) AddUser(ctx context.Context, name, password, tags string) error {
	user := map[string]string{"tags": tags}
	if password == "" {
		user["password_hash"] = ""
	} else {
		user["password"] = password
	}
	return r.Manage(ctx, http.MethodPut, "/api/users/"+url.PathEscape(name), user)
}

// Grant sets what a user may configure, write and read in a vhost, as regular
// expressions over names; an empty one matches nothing.
func (r *RabbitMQServer) Grant(ctx context.Context, vhost, user, configure, write, read string) error {
	return r.Manage(ctx, http.MethodPut, "/api/permissions/"+url.PathEscape(vhost)+"/"+url.PathEscape(user),
		map[string]string{"configure": configure, "write": write, "read": read})
}

// Manage sends a request to the management API as RabbitMQUser. path is escaped
// by the caller; body is sent as JSON unless nil. An answer other than 2xx is an
// error with its text.
func (r *RabbitMQServer) Manage(ctx context.Context, method, path string, body any) error {
	_, err := r.ask(ctx, method, path, body)
	return err
}

// Ask is Manage with GET; the answer is decoded into answer.
func (r *RabbitMQServer) Ask(ctx context.Context, path string, answer any) error {
	text, err := r.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

func (r *RabbitMQServer) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+r.http+path, &content)
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(RabbitMQUser, RabbitMQPassword)
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return text, nil
}
