package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
)

// crowded stands in for a service of AWS that has had enough of the requests of some
// access keys or regions, which it reads in their signatures.
type crowded struct {
	*httptest.Server

	mu    sync.Mutex
	of    string // what a signature of who is refused has in it; "" for nobody
	code  string // of the refusal
	told  string // header and value, such as "Retry-After: 60"
	times int    // how often, below 0 without end
	asked map[string]int
}

// answers of every type; those of one are no harm to another.
const goodAnswer = `{"Attributes":{"ApproximateNumberOfMessages":"3","ApproximateNumberOfMessagesNotVisible":"0"},"Count":3,` +
	`"StreamDescriptionSummary":{"OpenShardCount":3},"MetricDataResults":[{"Id":"c1","Values":[3],"StatusCode":"Complete"}],` +
	`"Table":{"LatestStreamArn":"arn"},"StreamDescription":{"Shards":[{},{},{}]}}`

func newCrowded(t testing.TB) *crowded {
	c := &crowded{asked: map[string]int{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *crowded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	signature := r.Header.Get("Authorization")
	credential, _, _ := strings.Cut(signature, ",")
	c.asked[credential]++
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if c.of != "" && strings.Contains(signature, c.of) && c.times != 0 {
		c.times--
		if name, value, told := strings.Cut(c.told, ": "); told {
			w.Header().Set(name, value)
		}
		answered := http.StatusBadRequest
		if c.code == "" {
			answered = http.StatusTooManyRequests
		}
		w.WriteHeader(answered)
		fmt.Fprintf(w, `{"__type":"com.amazonaws#%s","message":"secret"}`, c.code)
		return
	}
	fmt.Fprint(w, goodAnswer)
}

// refuse has whoever signs so be refused so often, in this way.
func (c *crowded) refuse(of, code, told string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of, c.code, c.told, c.times = of, code, told, times
}

// requests is how many there were with a signature that has this in it.
func (c *crowded) requests(of string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for signature, times := range c.asked {
		if strings.Contains(signature, of) {
			n += times
		}
	}
	return n
}

// serviceOf is how signatures name the service that a type asks first.
var serviceOf = map[string]string{
	"aws-cloudwatch": "monitoring", "aws-dynamodb": "dynamodb", "aws-dynamodb-streams": "dynamodb", "aws-kinesis-stream": "kinesis", "aws-sqs-queue": "sqs",
}

// TestThrottling has every type throttled, for one access key, in one region, of one
// service: it is not asked again for as long as AWS says, the triggers say so, and
// those of another key, region and service are read as before.
func TestThrottling(t *testing.T) {
	for _, s := range typesOn("throttled") {
		t.Run(s.Type, func(t *testing.T) {
			c := newCrowded(t)
			open := s.opener(t)
			other := map[string]string{"awsAccessKeyID": "AKIAOTHER", "awsSecretAccessKey": "hush-hush"}
			here, again := open(c.URL, keys, nil), open(c.URL, keys, nil)
			there, elsewhere := open(c.URL, other, nil), open(c.URL, keys, map[string]string{"awsRegion": "us-east-1"})
			refused := "AKIAEXAMPLE/" + time.Now().UTC().Format("20060102") + "/" + region
			code := "ThrottlingException"
			if s.Type == "aws-dynamodb" {
				code = "RequestLimitExceeded"
			}
			told := "Retry-After: 300"
			if s.Type == "aws-kinesis-stream" {
				code, told = "", "X-Amz-Retry-After: 300000"
			}
			c.refuse(refused, code, told, -1)
			for i, source := range []scaler.Source{here, again, here} {
				_, err := source.Read(within(t))
				want := strings.Replace(s.what, ": ", ": the service throttles the account: ", 1)
				if text := fmt.Sprint(err); status.Code(err) != codes.ResourceExhausted || !strings.Contains(text, want) || !strings.Contains(text, "it is not asked again before ") || strings.Contains(text, "secret") {
					t.Errorf("read %d: %v", i, err)
				}
			}
			if n := c.requests(refused); n != 1 {
				t.Errorf("%d requests of the account that is throttled", n)
			}
			for name, source := range map[string]scaler.Source{"another key": there, "another region": elsewhere} {
				if got, err := source.Read(within(t)); err != nil || got[0].Value != 3 {
					t.Errorf("%s: %v, %v", name, got, err)
				}
			}
			for _, o := range typesOn("beside") {
				if serviceOf[o.Type] == serviceOf[s.Type] {
					continue
				}
				c.refuse("", "", "", 0)
				if got, err := o.opener(t)(c.URL, keys, nil).Read(within(t)); err != nil || got[0].Value != 3 {
					t.Errorf("%s: %v, %v", o.Type, got, err)
				}
			}
		})
	}
}

// TestTooManyRequests has the ways in which AWS says so without saying for how long.
// A few that come at once are tried again and not told; what goes on is.
func TestTooManyRequests(t *testing.T) {
	s := ofType(t, "aws-sqs-queue")
	for _, code := range []string{
		"", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException",
		"RequestLimitExceeded", "SlowDown", "LimitExceededException",
	} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			c := newCrowded(t)
			source := s.opener(t)(c.URL, keys, nil)
			c.refuse("AKIAEXAMPLE", code, "", 1)
			if got, err := source.Read(within(t)); err != nil || got[0].Value != 3 {
				t.Errorf("refused once: %v, %v", got, err)
			}
			c.refuse("AKIAEXAMPLE", code, "", -1)
			before := c.requests("")
			for range 3 {
				_, err := source.Read(within(t))
				if want := "the service throttles the account: SQS GetQueueAttributes: "; status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want %s", err, want)
				}
			}
			if n := c.requests("") - before; n < 2 || n > 3 { // those of the library, the first time
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestThingsOfOthers: who owns a queue or table can have it throttled, which stops
// nobody who asks for those of another account.
func TestThingsOfOthers(t *testing.T) {
	for triggerType, tt := range map[string]struct{ parameter, theirs, ours string }{
		"aws-sqs-queue":        {"queueURL", "https://sqs.eu-west-1.amazonaws.com/111122223333/orders", "https://sqs.eu-west-1.amazonaws.com/444455556666/orders"},
		"aws-dynamodb":         {"tableName", "arn:aws:dynamodb:eu-west-1:111122223333:table/orders", "orders"},
		"aws-dynamodb-streams": {"tableName", "arn:aws:dynamodb:eu-west-1:111122223333:table/orders", "orders"},
	} {
		t.Run(triggerType, func(t *testing.T) {
			t.Parallel()
			c := newCrowded(t)
			open := ofType(t, triggerType).opener(t)
			theirs, ours := open(c.URL, keys, map[string]string{tt.parameter: tt.theirs}), open(c.URL, keys, map[string]string{tt.parameter: tt.ours})
			c.refuse("AKIAEXAMPLE", "RequestLimitExceeded", "Retry-After: 300", -1)
			if _, err := theirs.Read(within(t)); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("error = %v", err)
			}
			c.refuse("", "", "", 0)
			if got, err := ours.Read(within(t)); err != nil || got[0].Value != 3 {
				t.Errorf("ours: %v, %v", got, err)
			}
		})
	}
	for name, want := range map[string]string{
		"orders": "", "": "", "https://sqs.eu-west-1.amazonaws.com/111122223333/orders": "111122223333", "http://localhost:4566/000000000000/q": "000000000000",
		"arn:aws:dynamodb:eu-west-1:111122223333:table/orders": "111122223333", "https://host/1234/q": "", "11112222333x": "",
		// The number of another account stands elsewhere.
		"https://444455556666:443/111122223333/orders": "111122223333", "https://host/444455556666/111122223333/orders": "111122223333",
		"https://host/111122223333/444455556666": "111122223333", "https://host/orders/?444455556666/x": "", "444455556666": "", "a/444455556666/b": "",
		"arn:444455556666:dynamodb:444455556666:111122223333:table/444455556666": "111122223333",
		"arn:aws:dynamodb:eu-west-1::table/444455556666":                         "", "not:aws:dynamodb:eu-west-1:444455556666:table/orders": "",
	} {
		if got := ownerOf(name); got != want {
			t.Errorf("ownerOf(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestOwnEndpointsThrottleNobodyElse: who names a server of their own has it answer
// what they like, with credentials that others use, too.
func TestOwnEndpointsThrottleNobodyElse(t *testing.T) {
	for _, s := range typesOn("endpoints") {
		t.Run(s.Type, func(t *testing.T) {
			t.Parallel()
			theirs, ours := newCrowded(t), newCrowded(t)
			open := s.opener(t)
			hostile, source := open(theirs.URL, keys, nil), open(ours.URL, keys, nil)
			theirs.refuse("AKIAEXAMPLE", "RequestLimitExceeded", "Retry-After: 300", -1)
			for range 3 {
				if _, err := hostile.Read(within(t)); status.Code(err) != codes.ResourceExhausted {
					t.Errorf("error = %v", err)
				}
				if got, err := source.Read(within(t)); err != nil || got[0].Value != 3 {
					t.Errorf("ours: %v, %v", got, err)
				}
			}
		})
	}
}

// TestTablesThatAreReadTooMuch fail alone: their account is not what has too many
// requests.
func TestTablesThatAreReadTooMuch(t *testing.T) {
	s := ofType(t, "aws-dynamodb")
	for _, code := range []string{"ProvisionedThroughputExceededException", "ThrottlingException", "Throttling"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			c := newCrowded(t)
			open := s.opener(t)
			hot, other := open(c.URL, keys, nil), open(c.URL, keys, map[string]string{"tableName": "other"})
			c.refuse("AKIAEXAMPLE", code, "", -1)
			if _, err := hot.Read(within(t)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), code) {
				t.Errorf("error = %v", err)
			}
			c.refuse("", "", "", 0)
			if got, err := other.Read(within(t)); err != nil || got[0].Value != 3 {
				t.Errorf("another table: %v, %v", got, err)
			}
		})
	}
}

// TestRequestBudget: an account is not asked more often than the flag says, another
// key, region or service has a budget of its own.
func TestRequestBudget(t *testing.T) {
	limit := func(text string) {
		t.Helper()
		flags := flag.NewFlagSet("aws", flag.ContinueOnError)
		client.BudgetFlags(flags)
		if err := flags.Parse([]string{"--requests-per-minute=" + text}); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	defer limit("0")
	c := newCrowded(t)
	read := func(s subject, auth, more map[string]string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := s.opener(t)(c.URL, auth, more).Read(ctx)
		return err
	}
	queue, stream := ofType(t, "aws-sqs-queue"), ofType(t, "aws-kinesis-stream")
	if err := read(queue, keys, nil); err != nil {
		t.Error(err)
	}
	err := read(queue, keys, map[string]string{"queueURL": "another"})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "queue another: the request budget of the account, 1 a minute (--requests-per-minute), is used up") {
		t.Errorf("error = %v", err)
	}
	if n := c.requests("AKIAEXAMPLE"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	for name, err := range map[string]error{
		"another key":     read(queue, map[string]string{"awsAccessKeyID": "AKIAOTHER", "awsSecretAccessKey": "hush-hush"}, nil),
		"another region":  read(queue, keys, map[string]string{"awsRegion": "us-east-1"}),
		"another service": read(stream, keys, nil),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBudgetWithinABatch: who has very many requests in a batch has no other's
// refused. Each metric of another period is asked for by itself.
func TestBudgetWithinABatch(t *testing.T) {
	flags := flag.NewFlagSet("aws", flag.ContinueOnError)
	client.BudgetFlags(flags)
	limit := func(text string) {
		if err := flags.Parse([]string{"--requests-per-minute=" + text}); err != nil {
			t.Fatal(err)
		}
	}
	limit("60") // six at once
	defer limit("0")
	c := newCrowded(t)
	open := ofType(t, "aws-cloudwatch").opener(t)
	var sources []scaler.Source
	var namespaces []string
	for i := range 200 {
		namespaces = append(namespaces, "mallory")
		switch i {
		case 100:
			namespaces[i] = "shop"
		case 150:
			namespaces[i] = "bakery"
		}
		sources = append(sources, open(c.URL, keys, map[string]string{"metricCollectionTime": strconv.Itoa(300 * (i + 1))}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // no time to wait for another
	defer cancel()
	refused := 0
	for i, r := range scalertest.ReadTogetherFor(ctx, namespaces, sources[0].(scaler.Batched).Batch(), sources...) {
		if namespaces[i] != "mallory" && r.Err != nil {
			t.Errorf("%s: %v", namespaces[i], r.Err)
		}
		if status.Code(r.Err) == codes.ResourceExhausted {
			refused++
		}
	}
	if refused < 150 {
		t.Errorf("%d are refused for want of a budget, want nearly all of mallory's", refused)
	}
}

// ofType is the subject of a type.
func ofType(t testing.TB, triggerType string) subject {
	t.Helper()
	for _, s := range typesOn("orders") {
		if s.Type == triggerType {
			return s
		}
	}
	t.Fatalf("no %s", triggerType)
	return subject{}
}

// opener opens sources of a subject that share what they can. They end with the test.
func (s subject) opener(t testing.TB) func(address string, auth, more map[string]string) scaler.Source {
	t.Helper()
	opening, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	return func(address string, auth, more map[string]string) scaler.Source {
		t.Helper()
		f := scalertest.Family{}
		bound, err := s.Bind(f.Ref(s.Type, at(address, s.metadata, more)), &scaler.Credentials{Parameters: auth})
		if err != nil {
			t.Fatal(err)
		}
		source, err := bound.Open(opening)
		if err != nil {
			t.Fatal(err)
		}
		return source
	}
}
