package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// bus is the administration of one namespace of Service Bus, as one asker
// reaches it. All of their sources share it and are read together.
//
// The vendor's client would keep everything that a list says of each entity;
// this one takes names and counts.
type bus struct {
	host   string
	base   string // with a "/" at its end
	own    bool   // the family's own identity asks
	http   *client.HTTPClient
	places *client.Places

	mu      sync.Mutex
	checked bool           // that no relay gets the identity, see meet
	pages   map[string]int // that the last list had, by its path
}

// openBus returns the namespace that a connection string leads to. It is called
// with the ctx of an Open and asks nothing yet.
func openBus(ctx context.Context, access messagingAccess) (*bus, error) {
	access.Entity, access.Host = "", strings.ToLower(access.Host) // which are no part of who asks
	return client.Shared(ctx, access, func(ctx context.Context) (*bus, error) {
		return connectBus(ctx, access.Host, access.address(), access, access.sign)
	})
}

// address is where the namespace is administered.
func (a messagingAccess) address() string {
	switch {
	case !a.Emulator:
		return "https://" + a.Host + "/"
	case strings.Contains(a.Host, ":"):
		return "http://" + a.Host + "/"
	default:
		return "http://" + a.Host + ":5300/"
	}
}

// lendBus returns the namespace that the family's own identity opens.
func lendBus(ctx context.Context, id identityParams, in cloud, parameter, host string) (*bus, error) {
	loan, err := in.serviceBusTokens.Lend(parameter, true, (&url.URL{Host: host}).Hostname())
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{host, id.PodIdentity}, func(ctx context.Context) (*bus, error) {
		token, err := id.tokens(ctx, loan)
		if err != nil {
			return nil, err
		}
		b, err := connectBus(ctx, host, "https://"+host+"/", id.PodIdentity, bearing(token))
		if err == nil {
			b.own = true
		}
		return b, err
	})
}

// connectBus is called with the ctx of a dial. login tells who asks from others.
func connectBus(ctx context.Context, host, base string, login any, authorize func(*http.Request) error) (*bus, error) {
	account, err := client.NamedAccountOf(ctx, []string{"azure", askedAt(base)}, login)
	if err != nil {
		return nil, err
	}
	http, err := client.HTTP(ctx, client.HTTPOptions{Authorize: authorize, Account: account, Throttled: throttled})
	return &bus{host: host, base: base, http: http, places: client.NewPlaces(), pages: map[string]int{}}, err
}

// signatureLife is how long a signature is good. One is made for each request.
const signatureLife = 20 * time.Minute

// sign adds a shared access signature for what is asked for and nothing else: a
// key may be that of one entity.
func (a messagingAccess) sign(request *http.Request) error {
	request.Header.Set("Authorization", a.token("https://"+request.URL.Host+request.URL.EscapedPath(), time.Now().Add(signatureLife)))
	return nil
}

// token is a shared access signature for a resource.
//
// Source: https://learn.microsoft.com/rest/api/servicebus/generate-sas-token
func (a messagingAccess) token(resource string, until time.Time) string {
	const scheme = "SharedAccessSignature "
	if a.Signature != "" {
		return scheme + strings.TrimPrefix(a.Signature, scheme)
	}
	escaped := strings.ToLower(url.QueryEscape(strings.ToLower(resource)))
	end := strconv.FormatInt(until.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(a.Key))
	mac.Write([]byte(escaped + "\n" + end))
	return fmt.Sprintf("%ssr=%s&sig=%s&se=%s&skn=%s", scheme, escaped,
		url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))), end, url.QueryEscape(a.KeyName))
}

// busVersion is the version of the interface that is spoken.
const busVersion = "2021-05"

// get asks for a path below the namespace.
func (b *bus) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	if query == nil {
		query = url.Values{}
	}
	query.Set("api-version", busVersion)
	answer, err := b.http.Get(ctx, b.base+path+"?"+query.Encode())
	if err == nil {
		return answer, nil
	}
	return nil, b.failure(err)
}

// escaped is the path of an entity, whose name may have slashes.
func escaped(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

func (b *bus) failure(err error) error {
	var refused *client.HTTPError
	if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized && refused.Status != http.StatusForbidden {
		return err
	}
	advice := "the connection string needs the right Manage: Listen and Send do not do to count messages"
	if b.own {
		advice = "the identity needs the role Azure Service Bus Data Owner"
	}
	return scaler.Errorf(status.Code(err), "%w (%s)", err, advice)
}

// meet sees to it that the family's identity is shown to Service Bus itself. In
// the same domain Azure Relay has namespaces, too, whose owners are handed every
// request for a path that they have chosen, with its token. The paths that begin
// with "$" are Azure's own.
func (b *bus) meet(ctx context.Context) error {
	hostname := (&url.URL{Host: b.host}).Hostname()
	if !b.own || lending.Listed(hostname) {
		return nil
	}
	b.mu.Lock()
	checked := b.checked
	b.mu.Unlock()
	if checked {
		return nil
	}
	held, release := client.Held(ctx)
	defer release()
	answer, err := b.get(held, "$namespaceinfo", nil)
	if err != nil {
		return scaler.Errorf(status.Code(err), "what kind of namespace this is: %w", err)
	}
	kind := ""
	err = eachElement(held, answer, "entry|feed", func(e element) error {
		if e.path == "entry/content/NamespaceInfo/NamespaceType" {
			kind = e.text
		}
		return nil
	})
	if err != nil {
		return misunderstood("what kind of namespace this is", err)
	}
	if kind != "Messaging" {
		return scaler.Errorf(codes.PermissionDenied, "namespace: %s is no namespace of Service Bus alone, and gets nothing of this family's own identity: a relay in it would be handed the token (the flag %s makes exceptions)",
			hostname, lending.HostsFlag)
	}
	b.mu.Lock()
	b.checked = true
	b.mu.Unlock()
	return nil
}

// entity is what a list, or an answer about one entity, says of it.
type entity struct {
	name   string
	active int64 // -1 where it does not say
}

// read is how many messages an entity has.
func (b *bus) read(ctx context.Context, what, path string) (int64, error) {
	if err := b.meet(ctx); err != nil {
		return 0, scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
	held, release := client.Held(ctx)
	defer release()
	answer, err := b.get(held, path, nil)
	if client.NotFound(err) {
		return 0, b.missing(what)
	}
	if err != nil {
		return 0, scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
	entities, _, err := entries(held, answer)
	switch {
	case err != nil:
		return 0, misunderstood(what, err)
	case len(entities) == 0: // Azure's way to say so
		return 0, b.missing(what)
	case entities[0].active < 0:
		return 0, lacking(what)
	}
	return entities[0].active, nil
}

func (b *bus) missing(what string) error {
	return scaler.Errorf(codes.NotFound, "%s does not exist in namespace %s", what, b.host)
}

func lacking(what string) error {
	return scaler.Errorf(codes.Unavailable, "%s: the answer lacks ActiveMessageCount", what)
}

const (
	// pageSize is how many entities a page of a list has; Azure gives no more.
	pageSize = 100
	// mostPages bounds a list: a namespace has 10,000 queues at most, and a
	// topic 2,000 subscriptions.
	mostPages = 150
)

// list hands over all entities of a list, page by page.
func (b *bus) list(ctx context.Context, what, path string, use func([]entity) error) error {
	if err := b.meet(ctx); err != nil {
		return scaler.Errorf(status.Code(err), "%s: %w", what, err)
	}
	skip := 0
	for page := 1; page <= mostPages; page++ {
		query := url.Values{"$top": {strconv.Itoa(pageSize)}}
		if skip > 0 {
			query.Set("$skip", strconv.Itoa(skip))
		}
		entities, more, err := b.page(ctx, path, query)
		if err != nil {
			return misunderstood(what, err)
		}
		if err := use(entities); err != nil {
			return scaler.Errorf(status.Code(err), "%s: %w", what, err)
		}
		skip += len(entities)
		if len(entities) == 0 || len(entities) < pageSize && !more {
			b.mu.Lock()
			if len(b.pages) >= mostLists {
				clear(b.pages) // the next read of each is as that of a new one
			}
			b.pages[path] = page
			b.mu.Unlock()
			return nil
		}
	}
	return scaler.Errorf(codes.Unavailable, "%s: the list has no end", what)
}

// mostLists is of how many lists of a namespace it is remembered how long they are.
const mostLists = 100

// page reads one page of a list, and says whether there is another.
func (b *bus) page(ctx context.Context, path string, query url.Values) (entities []entity, more bool, err error) {
	held, release := client.Held(ctx)
	defer release()
	answer, err := b.get(held, path, query)
	if err != nil {
		return nil, false, err
	}
	return entries(held, answer)
}

// costs is how many requests the list took the last time; false for one that was
// not read yet.
func (b *bus) costs(path string) (int, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pages, known := b.pages[path]
	return pages, known
}

// entries are the entities of an answer, and whether there is a next page. An
// answer about one entity is an entry, a list is a feed.
func entries(ctx context.Context, text []byte) (entities []entity, more bool, err error) {
	now := entity{active: -1}
	err = eachElement(ctx, text, "feed|entry", func(e element) error {
		path := strings.TrimPrefix(e.path, "feed/")
		switch path {
		case "entry/title":
			now.name = e.text
		case "entry/content/QueueDescription/CountDetails/ActiveMessageCount", "entry/content/SubscriptionDescription/CountDetails/ActiveMessageCount":
			n, err := strconv.ParseInt(strings.TrimSpace(e.text), 10, 64)
			if err != nil || n < 0 {
				return scaler.Errorf(codes.Unavailable, "ActiveMessageCount in the answer is not a number of messages")
			}
			now.active = n
		case "entry":
			if len(entities) == 10*pageSize {
				return scaler.Errorf(codes.Unavailable, "a page of the answer has more than %d entities", 10*pageSize)
			}
			entities = append(entities, now)
			now = entity{active: -1}
		case "link":
			more = more || e.attribute("rel") == "next"
		}
		return nil
	})
	return entities, more, err
}

// attribute is the value of one, "" for none.
func (e element) attribute(name string) string {
	for _, a := range e.attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
