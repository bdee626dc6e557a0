package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/fault"
)

// subject is one trigger and the value that it has.
type subject struct {
	name, triggerType string
	metadata          map[string]string
	value             float64
}

// subjects are all that can be asked of a kind of Redis: a list of 3, and a
// stream of 3 of which a group was given 1. They are made at key.
func (k kind) subjects(t *testing.T, key string) []subject {
	t.Helper()
	events := key + "-events"
	fresh(t, k.operator, key, events)
	push(t, k.operator, key, 3)
	for range 3 {
		do(t, k.operator, "XADD", events, "*", "k", "v")
	}
	do(t, k.operator, "XGROUP", "CREATE", events, "workers", "0")
	do(t, k.operator, "XREADGROUP", "GROUP", "workers", "one", "COUNT", 1, "STREAMS", events, ">")
	with := func(more map[string]string) map[string]string {
		all := maps.Clone(k.metadata)
		maps.Copy(all, more)
		return all
	}
	return []subject{
		{"length of a list", k.list, with(map[string]string{"listName": key}), 3},
		{"length of a stream", k.stream, with(map[string]string{"stream": events}), 3},
		{"pending", k.stream, with(map[string]string{"stream": events, "consumerGroup": "workers"}), 1},
		{"lag", k.stream, with(map[string]string{"stream": events, "consumerGroup": "workers", "lagCount": "1"}), 2},
	}
}

// open opens the source of a trigger, with this login.
func (s subject) open(opening context.Context, t *testing.T, auth map[string]string) scaler.Source {
	t.Helper()
	i := slices.IndexFunc(triggers, func(o scaler.Trigger) bool { return o.Type == s.triggerType })
	ref := (&scalertest.Family{}).Ref(s.triggerType, s.metadata)
	ref.ScalerMetadata[scalerv1.KeyAuthenticationRef] = "TriggerAuthentication/test"
	bound, err := triggers[i].Bind(ref, &scaler.Credentials{Parameters: auth})
	if err != nil {
		t.Fatal(err)
	}
	source, err := bound.Open(opening)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// everywhere runs a command on each server that is read from.
func everywhere(t *testing.T, client redis.UniversalClient, command ...any) {
	t.Helper()
	many, ok := client.(*redis.ClusterClient)
	if !ok {
		do(t, client, command...)
		return
	}
	err := many.ForEachMaster(within(t), func(ctx context.Context, one *redis.Client) error { return one.Do(ctx, command...).Err() })
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
}

// TestServersThatFail slows, stalls and kills the servers of each kind, which
// had answered before.
func TestServersThatFail(t *testing.T) {
	one, sentinels, cluster := servers.Redis(t), servers.Sentinel(t), servers.Cluster(t)
	nodes := map[string][]*servers.Node{"server": {one.Node}, "sentinel": sentinels.Servers, "cluster": cluster.Nodes}
	for name, k := range kindsOf(t, one, sentinels, cluster) {
		opening, release := scaler.Opening(t.Context())
		defer release()
		subjects := k.subjects(t, "failing")
		var sources []scaler.Source
		for _, s := range subjects {
			sources = append(sources, s.open(opening, t, nil))
		}
		each := func(when string, check func(i int) error) {
			t.Helper()
			for i, s := range subjects {
				if err := check(i); err != nil {
					t.Errorf("%s, %s, %s: %v", name, when, s.name, err)
				}
			}
		}
		all := func(do func(*servers.Node) error) {
			t.Helper()
			for _, node := range nodes[name] {
				if err := do(node); err != nil {
					t.Fatal(err)
				}
			}
		}
		answers := func(i int) error {
			got, err := sources[i].Read(within(t))
			if err == nil && got[0].Value != subjects[i].value {
				t.Errorf("%s, %s: read %v, want %v", name, subjects[i].name, got, subjects[i].value)
			}
			return err
		}
		fails := func(code codes.Code) func(int) error {
			return func(i int) error {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if got, err := sources[i].Read(ctx); status.Code(err) != code {
					t.Errorf("%s, %s: read %v, %v, want %v", name, subjects[i].name, got, err, code)
				}
				return nil
			}
		}
		each("at first", answers)
		everywhere(t, k.operator, "CLIENT", "PAUSE", 200, "ALL")
		each("slow", answers)
		all((*servers.Node).Stop)
		each("stalled", fails(codes.DeadlineExceeded))
		all((*servers.Node).Continue)
		each("after the stall", func(i int) error {
			for ctx := within(t); ; { // a cluster or Sentinels may not be sure at once
				err := answers(i)
				if err == nil || ctx.Err() != nil {
					return err
				}
			}
		})
		all((*servers.Node).Kill)
		each("killed", func(i int) error {
			got, err := sources[i].Read(within(t))
			if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
				t.Errorf("%s, %s: read %v, %v", name, subjects[i].name, got, err)
			}
			return nil
		})
	}
}

// TestHalfAnswers cuts the connection at places spread over all that a server
// says. What comes of it is an error, and never another number.
func TestHalfAnswers(t *testing.T) {
	const places = 5
	one := servers.SharedRedis(t)
	proxy, err := fault.Listen(one.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	k := kinds(t)["server"]
	k.metadata = map[string]string{"address": proxy.Addr()}
	for _, s := range k.subjects(t, "half") {
		t.Run(s.name, func(t *testing.T) {
			read := func() ([]scaler.Reading, error) {
				opening, release := scaler.Opening(t.Context()) // no connection yet
				defer release()
				return s.open(opening, t, nil).Read(within(t))
			}
			// Every answer is as long as the next one: none asks for the script.
			do(t, k.operator, "SCRIPT", "LOAD", lengthText)
			before := proxy.Stats().ToClient
			if got, err := read(); err != nil || got[0].Value != s.value {
				t.Fatalf("the whole answer: %v, %v", got, err)
			}
			whole := proxy.Stats().ToClient - before
			for i := range int64(places) {
				after := 1 + i*(whole-2)/(places-1) // the last one lacks one byte
				proxy.CutAfter(after)
				if got, err := read(); status.Code(err) != codes.Unavailable {
					t.Errorf("%d bytes of %d: %v, %v", after, whole, got, err)
				}
			}
			proxy.Heal()
		})
	}
}

// saying is the address of a stand-in that gives every command the same answer,
// for what no server here says. It hangs up when the answer is half of one. It
// is as old as not to know the greeting.
func saying(t *testing.T, answer string, half bool) string {
	t.Helper()
	return scalertest.Listen(t, func(c net.Conn) {
		for command := make([]byte, 4096); ; {
			n, err := c.Read(command)
			if err != nil {
				return
			}
			if strings.Contains(strings.ToUpper(string(command[:n])), "HELLO") {
				_, _ = c.Write([]byte("-ERR unknown command 'HELLO'\r\n"))
				continue
			}
			if _, err := c.Write([]byte(answer)); err != nil || half {
				return
			}
		}
	})
}

// standIn is the address of a stand-in that answers each command, given as its
// words in capitals.
func standIn(t *testing.T, answer func(command string) string) string {
	t.Helper()
	return scalertest.Listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			command, err := readCommand(in)
			if err != nil {
				return
			}
			if _, err := c.Write([]byte(answer(strings.ToUpper(command)))); err != nil {
				return
			}
		}
	})
}

// readCommand reads an array of strings.
func readCommand(in *bufio.Reader) (string, error) {
	var words []string
	var count, length int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &count); err != nil {
		return "", err
	}
	for range count {
		if _, err := fmt.Fscanf(in, "$%d\r\n", &length); err != nil {
			return "", err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return "", err
		}
		words = append(words, string(word[:length]))
	}
	return strings.Join(words, " "), nil
}

// TestClosingWaitsForNobody: servers, nodes and Sentinels that take a
// connection and say nothing. Whatever waits for their answer ends with the
// source, and not with the time that an answer may take.
func TestClosingWaitsForNobody(t *testing.T) {
	cases.Each(t, triggers, func(t *testing.T, c scalertest.Case) {
		asked := make(chan struct{}, 100)
		address := scalertest.Listen(t, func(c net.Conn) {
			for command := make([]byte, 4096); ; {
				if _, err := c.Read(command); err != nil {
					return
				}
				asked <- struct{}{}
			}
		})
		opening, release := scaler.Opening(t.Context())
		source, err := c.OpenIn(opening, c.At(address))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		waiting := 1
		go func() {
			_, err := source.Read(within(t))
			ended <- err
		}()
		if ringer, rings := source.(scaler.Ringer); rings {
			waiting++
			go func() {
				ended <- ringer.Listen(within(t), func() {}, func() {})
			}()
		}
		await(t, "a question", asked)
		release()
		for range waiting {
			if err := await(t, "the end", ended); err == nil || status.Code(err) == codes.DeadlineExceeded {
				t.Errorf("ended with %v, want the end of the connection", err)
			}
		}
	})
}

// TestAnswersOfOthers has refusals, half answers and what is none, for every
// type: none of them is a number, and no text of a server gets out.
func TestAnswersOfOthers(t *testing.T) {
	answers := map[string]struct {
		text string
		half bool
		code codes.Code // of one server; what stands before a cluster has its own
	}{
		"loading":             {text: "-LOADING secret\r\n", code: codes.Unavailable},
		"too many clients":    {text: "-ERR max number of clients reached secret\r\n", half: true, code: codes.Unavailable},
		"no permission":       {text: "-NOPERM secret\r\n", code: codes.PermissionDenied},
		"a password required": {text: "-NOAUTH secret\r\n", code: codes.Unauthenticated},
		"an error of others":  {text: "-SECRET secret\r\n", code: codes.Unavailable},
		"another kind":        {text: "+secret\r\n"},
		"half a number":       {text: ":12", half: true, code: codes.Unavailable},
		"half a text":         {text: "$10\r\nsec", half: true, code: codes.Unavailable},
		"half a list":         {text: "*4\r\n:1\r\n", half: true, code: codes.Unavailable},
		"a page":              {text: "HTTP/1.1 400 Bad Request\r\n\r\nsecret", half: true, code: codes.Unavailable},
		"nothing":             {half: true, code: codes.Unavailable},
		"an empty list":       {text: "*0\r\n"},
		"a list of one":       {text: "*1\r\n$6\r\nsecret\r\n", code: codes.Unavailable},
		"an endless list":     {text: "*9223372036854775807\r\n", code: codes.Unavailable},
		"a giant list":        {text: "*2000000000\r\n", code: codes.Unavailable},
		"an endless text":     {text: "$9223372036854775807\r\n", code: codes.Unavailable},
		"a giant text":        {text: "$4294967296\r\n", code: codes.Unavailable},
		"a giant map":         {text: "%2000000000\r\n", code: codes.Unavailable},
		"lists of lists":      {text: strings.Repeat("*1\r\n", 1<<20), code: codes.Unavailable},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := saying(t, tt.text, tt.half)
			for _, trigger := range triggers {
				metadata := cases.Of(t, trigger).At(address)
				for _, more := range []map[string]string{{}, {"consumerGroup": "workers"}, {"consumerGroup": "workers", "lagCount": "1"}} {
					asked := maps.Clone(metadata)
					maps.Copy(asked, more)
					opening, release := scaler.Opening(t.Context())
					got, err := subject{triggerType: trigger.Type, metadata: asked}.open(opening, t, nil).Read(within(t))
					code := status.Code(err)
					if code == codes.OK || strings.Contains(err.Error(), "secret") {
						t.Errorf("%s: read %v, %v", trigger.Type, got, err)
					}
					one := trigger.Type == "redis" || trigger.Type == "redis-streams"
					if one && tt.code != codes.OK && code != tt.code {
						t.Errorf("%s: %v, want %v", trigger.Type, err, tt.code)
					}
					release()
				}
			}
		})
	}
}

// TestRotatedPasswords changes the password of a user of running servers.
func TestRotatedPasswords(t *testing.T) {
	for name, k := range kinds(t) {
		everywhere(t, k.operator, "ACL", "SETUSER", "turning", "reset", "on", ">before-it", "~*", "&*", "+@all")
		for _, s := range k.subjects(t, "turning") {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				everywhere(t, k.operator, "ACL", "SETUSER", "turning", "resetpass", ">before-it")
				family := scalertest.Serve(t, triggers...).WithAuth(map[string]string{"username": "turning", "password": "before-it"})
				observe := func() (scalertest.Observation, error) {
					return family.Observe(t.Context(), s.triggerType, s.metadata)
				}
				if got, err := observe(); err != nil || got.Value != s.value {
					t.Fatalf("before: %+v, %v", got, err)
				}
				everywhere(t, k.operator, "ACL", "SETUSER", "turning", "resetpass", ">after-it")
				everywhere(t, k.operator, "CLIENT", "KILL", "USER", "turning")
				if _, err := observe(); status.Code(err) != codes.Unauthenticated {
					t.Fatalf("with the old password: %v, want %v", err, codes.Unauthenticated)
				}
				family.Rotate(map[string]string{"username": "turning", "password": "after-it"})
				if got, err := observe(); err != nil || got.Value != s.value {
					t.Errorf("with the new password: %+v, %v", got, err)
				}
			})
		}
	}
}

// TestThousandTriggersFewConnections reads a thousand triggers of each kind, in
// batches as the sampler does, and counts the connections of their user.
func TestThousandTriggersFewConnections(t *testing.T) {
	const batch = 500
	for name, k := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			everywhere(t, k.operator, "ACL", "SETUSER", "crowd", "reset", "on", ">many", "~*", "&*", "+@all")
			subjects := k.subjects(t, "crowd")
			opening, release := scaler.Opening(t.Context())
			defer release()
			var sources []scaler.Source
			for i := range 1000 {
				sources = append(sources, subjects[i%len(subjects)].open(opening, t, map[string]string{"username": "crowd", "password": "many"}))
			}
			together := sources[0].(scaler.Batched).Batch()
			for first := 0; first < len(sources); first += batch {
				results := scaler.ReadTogether(within(t), together, sources[first:first+batch]...)
				for i, result := range results {
					want := subjects[(first+i)%len(subjects)].value
					if result.Err != nil || result.Readings[0].Value != want {
						t.Fatalf("trigger %d: %v, %v, want %v", first+i, result.Readings, result.Err, want)
					}
				}
			}
			for server, n := range connections(t, k.operator, "crowd") {
				if n > poolSize {
					t.Errorf("%d connections to %s", n, server)
				}
			}
		})
	}
}

// connections counts those of a user, by server.
func connections(t *testing.T, client redis.UniversalClient, user string) map[string]int {
	t.Helper()
	count := func(ctx context.Context, one redis.Cmdable) (int, error) {
		list, err := one.ClientList(ctx).Result()
		return strings.Count(list, " user="+user+" "), err
	}
	many, ok := client.(*redis.ClusterClient)
	if !ok {
		n, err := count(within(t), client)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]int{"the server": n}
	}
	var mu sync.Mutex
	all := map[string]int{}
	err := many.ForEachMaster(within(t), func(ctx context.Context, one *redis.Client) error {
		n, err := count(ctx, one)
		mu.Lock()
		defer mu.Unlock()
		all[one.Options().Addr] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestServersBeforeLag have no lag in what they say of a group.
func TestServersBeforeLag(t *testing.T) {
	address := saying(t, "*1\r\n*4\r\n$4\r\nname\r\n$7\r\nworkers\r\n$7\r\npending\r\n:2\r\n", false)
	_, err := scalertest.Serve(t, redisStreams).Observe(t.Context(), "redis-streams",
		map[string]string{"address": address, "stream": "jobs", "consumerGroup": "workers", "lagCount": "5"})
	want := "redis-streams: stream jobs: lagCount: the server reports no lag, which needs Redis 7 or later"
	if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}
