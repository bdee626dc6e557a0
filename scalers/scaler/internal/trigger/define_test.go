package trigger

import (
	"context"
	"errors"
	"maps"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/params"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// loginParams is a group of parameters.
type loginParams struct {
	Username string `param:"username" from:"auth,env"`
	Password string `param:"password" from:"auth,env"`
}

func (p loginParams) Validate() error {
	if (p.Username == "") != (p.Password == "") {
		return errors.New("username: comes with password or not at all")
	}
	return nil
}

// sampleParams has a parameter of every kind.
type sampleParams struct {
	loginParams
	contract.Object      `question:"false"`
	contract.PodIdentity // the cloud's

	// Servers are the brokers.
	Servers   []string          `param:"servers,required" from:"trigger,env"`
	Queue     string            `param:"queueName" alias:"queue" from:"trigger,env,auth" default:"main"`
	Length    float64           `param:"queueLength" default:"5" role:"target" unit:"messages"`
	Active    float64           `param:"activationQueueLength" role:"activation" unit:"messages"`
	Mode      string            `param:"mode" default:"fast" enum:"fast,slow"`
	Count     int64             `param:"count"`
	Small     *int32            `param:"small" from:"trigger,env,auth"`
	Deep      bool              `param:"deep" default:"true"`
	Timeout   time.Duration     `param:"timeout"`
	Limits    params.Ranges     `param:"limits"`
	Labels    map[string]string `param:"labels"`
	Extra     url.Values        `param:"extra"`
	Modes     []string          `param:"modes" enum:"basic,bearer,tls" exclusive:"basic,bearer"`
	Words     []string          `param:"words" separator:";"`
	Old       string            `param:"old" removed:"use mode"`
	Fading    string            `param:"fading" deprecated:"use mode"`
	Token     string            `param:"token" secret:"true" enum:"a,b"`
	TokenOnly string            `param:"tokenOnly" from:"auth"`
	Keytab    string            `param:"keytab" from:"auth" binary:"true"`
}

func (p sampleParams) Name() string { return contract.MetricName("sample", p.Queue) }

func (p sampleParams) Validate() error {
	var problems []error
	if p.Mode == "slow" && p.Deep {
		problems = append(problems, errors.New("deep: is not for slow"))
	}
	if p.Count < 0 {
		problems = append(problems, errors.New("count: is negative"))
	}
	return errors.Join(problems...)
}

// sample returns a trigger type whose opened params land in got.
func sample(got *sampleParams, options ...Option) Trigger {
	return Define("sample", func(_ context.Context, p sampleParams) (contract.Source, error) {
		*got = p
		return nil, errors.New("not opened in tests")
	}, options...)
}

func ask(metadata map[string]string) Request {
	return Request{Ref: &externalscaler.ScaledObjectRef{Namespace: "shop", Name: "orders", ScalerMetadata: metadata}}
}

// bound binds and opens a sample trigger with metadata on top of what is
// required.
func bound(t *testing.T, metadata map[string]string, creds *contract.Credentials) (sampleParams, *Binding, error) {
	t.Helper()
	whole := map[string]string{"servers": "a:1"}
	maps.Copy(whole, metadata)
	var got sampleParams
	b, err := sample(&got).bind(ask(whole), creds)
	if err == nil {
		_, _ = b.Open(t.Context())
	}
	return got, b, err
}

func TestBinaryValues(t *testing.T) {
	keys := "\x05\x02\x00 \xff\n"
	got, _, err := bound(t, nil, &contract.Credentials{Parameters: map[string]string{"keytab": keys}})
	if err != nil || got.Keytab != keys {
		t.Errorf("keytab = %q, %v, want %q", got.Keytab, err, keys)
	}
	for _, value := range []string{"pass\x00word", "\xff\xfe"} {
		_, _, err := bound(t, nil, &contract.Credentials{Parameters: map[string]string{"tokenOnly": value}})
		if want := "sample: tokenOnly: the value from authentication is binary and not text"; err == nil || status.Convert(err).Message() != want {
			t.Errorf("%q: error = %v, want %q", value, err, want)
		}
	}
}

func small(n int32) *int32 { return &n }

func TestConversion(t *testing.T) {
	read := func(name string) func(sampleParams) any {
		return func(p sampleParams) any { return reflect.ValueOf(p).FieldByName(name).Interface() }
	}
	tests := map[string]struct {
		key, text string
		field     string
		want      any
		message   string
	}{
		"a text is trimmed":                 {key: "queueName", text: "  a b ", field: "Queue", want: "a b"},
		"a blank text is absent":            {key: "queueName", text: " \t", field: "Queue", want: "main"},
		"an integer":                        {key: "count", text: "-0", field: "Count", want: int64(0)},
		"the largest integer":               {key: "count", text: "9223372036854775807", field: "Count", want: int64(math.MaxInt64)},
		"an integer beyond its width":       {key: "count", text: "9223372036854775808", message: `count: "9223372036854775808" is out of range`},
		"an integer beyond 32 bits":         {key: "small", text: "2147483648", message: `small: "2147483648" is out of range`},
		"a small integer":                   {key: "small", text: "7", field: "Small", want: small(7)},
		"no integer at all":                 {key: "queueName", text: "x", field: "Small", want: (*int32)(nil)},
		"an integer with a plus":            {key: "count", text: "+5", message: `count: "+5" is not an integer`},
		"an integer with a leading zero":    {key: "count", text: "05", message: `count: "05" is not an integer`},
		"an integer with a fraction":        {key: "count", text: "5.0", message: `count: "5.0" is not an integer`},
		"an integer with an exponent":       {key: "count", text: "1e3", message: `count: "1e3" is not an integer`},
		"a number":                          {key: "queueLength", text: "2.5e-1", field: "Length", want: 0.25},
		"a number without its zero":         {key: "queueLength", text: ".5", message: `queueLength: ".5" is not a number`},
		"a number with a plus":              {key: "queueLength", text: "+5", message: `queueLength: "+5" is not a number`},
		"a number with a leading zero":      {key: "queueLength", text: "05", message: `queueLength: "05" is not a number`},
		"NaN":                               {key: "queueLength", text: "NaN", message: `queueLength: "NaN" is not a number`},
		"infinity":                          {key: "queueLength", text: "Inf", message: `queueLength: "Inf" is not a number`},
		"hex":                               {key: "queueLength", text: "0x10", message: `queueLength: "0x10" is not a number`},
		"a number beyond float":             {key: "queueLength", text: "1e999", message: `queueLength: "1e999" is out of range`},
		"a word":                            {key: "queueLength", text: "many", message: `queueLength: "many" is not a number`},
		"F is false":                        {key: "deep", text: "F", field: "Deep", want: false},
		"True is true":                      {key: "deep", text: "True", field: "Deep", want: true},
		"yes is no boolean":                 {key: "deep", text: "yes", message: `deep: "yes" is neither true nor false`},
		"on is no boolean":                  {key: "deep", text: "on", message: `deep: "on" is neither true nor false`},
		"tRUE is no boolean":                {key: "deep", text: "tRUE", message: `deep: "tRUE" is neither true nor false`},
		"a Go duration":                     {key: "timeout", text: "1m30s", field: "Timeout", want: 90 * time.Second},
		"a bare number is milliseconds":     {key: "timeout", text: "1500", field: "Timeout", want: 1500 * time.Millisecond},
		"a bare zero":                       {key: "timeout", text: "0", field: "Timeout", want: time.Duration(0)},
		"a negative duration":               {key: "timeout", text: "-5s", message: `timeout: "-5s" is negative`},
		"negative milliseconds":             {key: "timeout", text: "-5", message: `timeout: "-5" is negative`},
		"milliseconds beyond a duration":    {key: "timeout", text: "9300000000000000", message: `timeout: "9300000000000000" is out of range`},
		"no duration":                       {key: "timeout", text: "soon", message: `timeout: "soon" is neither a duration such as 30s nor a number of milliseconds`},
		"a list keeps empty elements":       {key: "servers", text: "a:1, ,b:2,", field: "Servers", want: []string{"a:1", "", "b:2", ""}},
		"a list with its own separator":     {key: "words", text: "a,b; c", field: "Words", want: []string{"a,b", "c"}},
		"ranges include their ends":         {key: "limits", text: "1,2, 5-8", field: "Limits", want: params.Ranges{{From: 1, To: 2}, {From: 5, To: 8}}},
		"ranges are the same in any order":  {key: "limits", text: "7-8,5-6,2,1-1,5", field: "Limits", want: params.Ranges{{From: 1, To: 2}, {From: 5, To: 8}}},
		"a range of one":                    {key: "limits", text: "3-3", field: "Limits", want: params.Ranges{{From: 3, To: 3}}},
		"a range backwards":                 {key: "limits", text: "9-5", message: `limits: "9-5" is a range that ends before it begins`},
		"a long range is as short":          {key: "limits", text: "0-2000000000", field: "Limits", want: params.Ranges{{From: 0, To: 2000000000}}},
		"a range beyond integers":           {key: "limits", text: "0-20000000000", message: `limits: "20000000000" is out of range`},
		"a list of integers with a word":    {key: "limits", text: "1,x", message: `limits: "x" is not an integer`},
		"a list of integers with a gap":     {key: "limits", text: "1,,2", message: `limits: "" is not an integer`},
		"a map":                             {key: "labels", text: "a=1, b = 2,c=", field: "Labels", want: map[string]string{"a": "1", "b": "2", "c": ""}},
		"a map value with an equals sign":   {key: "labels", text: "a=MQ==", message: `labels: "a=MQ==" is not one "key=value"`},
		"a map element without one":         {key: "labels", text: "a", message: `labels: "a" is not one "key=value"`},
		"a URL query":                       {key: "extra", text: "a=1&a=2&b=%20", field: "Extra", want: url.Values{"a": {"1", "2"}, "b": {" "}}},
		"no URL query":                      {key: "extra", text: "a=%zz", message: `extra: "a=%zz" is not a URL query`},
		"an allowed value":                  {key: "mode", text: " fast ", field: "Mode", want: "fast"},
		"a value of another case":           {key: "mode", text: "Fast", message: `mode: "Fast" is not one of fast, slow`},
		"elements are held against enum":    {key: "modes", text: "tls, Basic", message: `modes: "Basic" is not one of basic, bearer, tls`},
		"elements that exclude each other":  {key: "modes", text: "basic,tls,bearer", message: `modes: "basic,bearer" exclude each other`},
		"one of them twice is still one":    {key: "modes", text: "basic,basic", field: "Modes", want: []string{"basic", "basic"}},
		"a removed parameter":               {key: "old", text: "x", message: `old: was removed: use mode`},
		"a blank removed parameter":         {key: "old", text: " ", field: "Old", want: ""},
		"a secret in metadata is not shown": {key: "token", text: "hunter2", message: `token: the value from metadata is not one of a, b`},
		"another spelling":                  {key: "queue", text: "x", field: "Queue", want: "x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _, err := bound(t, map[string]string{tt.key: tt.text}, &contract.Credentials{})
			if tt.message != "" {
				if want := "sample: " + tt.message; status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
					t.Fatalf("error = %v, want InvalidArgument %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if value := read(tt.field)(got); !reflect.DeepEqual(value, tt.want) {
				t.Errorf("%s = %#v, want %#v", tt.field, value, tt.want)
			}
		})
	}
}

func TestLookupOrder(t *testing.T) {
	tests := map[string]struct {
		metadata, auth, env map[string]string
		want                string // of queueName, which reads metadata, env, auth
	}{
		"metadata before all":          {map[string]string{"queueName": "m", "queueNameFromEnv": "Q"}, map[string]string{"queueName": "a"}, map[string]string{"Q": "e"}, "m"},
		"every spelling in one source": {map[string]string{"queue": "m", "queueNameFromEnv": "Q"}, nil, map[string]string{"Q": "e"}, "m"},
		"first spelling first":         {map[string]string{"queue": "m2", "queueName": "m1"}, nil, nil, "m1"},
		"env before auth":              {map[string]string{"queueNameFromEnv": " Q "}, map[string]string{"queueName": "a"}, map[string]string{"Q": " e "}, "e"},
		"env by another spelling":      {map[string]string{"queueFromEnv": "Q"}, nil, map[string]string{"Q": "e"}, "e"},
		"blank counts as absent":       {map[string]string{"queueName": " ", "queueNameFromEnv": "Q"}, map[string]string{"queueName": "a"}, map[string]string{"Q": " \n"}, "a"},
		"a variable that is not there": {map[string]string{"queueNameFromEnv": "Q"}, nil, nil, "main"},
		"default last":                 {nil, map[string]string{"queueName": "\t"}, nil, "main"},
		"keys are case-sensitive":      {map[string]string{"queuename": "m"}, nil, nil, "main"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, _, err := bound(t, tt.metadata, &contract.Credentials{Parameters: tt.auth, Env: tt.env})
			if err != nil || got.Queue != tt.want {
				t.Errorf("queueName = %q, %v, want %q", got.Queue, err, tt.want)
			}
		})
	}
}

func TestSourcesThatAreNotAllowedAreIgnored(t *testing.T) {
	got, b, err := bound(t,
		map[string]string{"tokenOnly": "m", "tokenOnlyFromEnv": "T", "countFromEnv": "C"},
		&contract.Credentials{Parameters: map[string]string{"count": "3"}, Env: map[string]string{"T": "e", "C": "4"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.TokenOnly != "" || got.Count != 0 {
		t.Errorf("tokenOnly = %q, count = %d, want neither", got.TokenOnly, got.Count)
	}
	want := []string{
		"countFromEnv: ignored, count is only read from metadata",
		"tokenOnly: ignored, tokenOnly is only read from authentication",
		"tokenOnlyFromEnv: ignored, tokenOnly is only read from authentication",
	}
	if !slices.Equal(b.Warnings, want) {
		t.Errorf("warnings = %q, want %q", b.Warnings, want)
	}
}

// listedParams make the name of a metric of a list.
type listedParams struct {
	Names  []string `param:"names"`
	Topic  string   `param:"topic"`
	Query  string   `param:"query" long:"true"`
	Token  string   `param:"token" secret:"true"`
	Target float64  `param:"target" default:"1" role:"target"`
}

func (p listedParams) Name() string { return "listed-" + strings.Join(p.Names, "-") }

// TestNamesAndAddressesAreShort: names of metrics, addresses and errors are as long as
// what they are made of, and are kept for each trigger.
func TestNamesAndAddressesAreShort(t *testing.T) {
	listed := Define("listed", func(context.Context, listedParams) (contract.Source, error) { return nil, nil })
	long := strings.Repeat("x", 4<<10)
	for key, tt := range map[string]struct{ text, want string }{
		"topic":  {long, ""},
		"topic ": {long + "x", "listed: topic: has 4097 bytes, more than 4096"},
		"query":  {long + long, ""},
		"token":  {long + long, ""},
		"names":  {long, "listed: name of a metric: has 4103 bytes, more than 4096"},
	} {
		ref := &externalscaler.ScaledObjectRef{Name: "a", Namespace: "b", ScalerMetadata: map[string]string{strings.TrimSpace(key): tt.text}}
		_, err := listed.Bind(ref, &contract.Credentials{})
		if got := status.Convert(err).Message(); got != tt.want {
			t.Errorf("%s of %d bytes: %.200q, want %q", key, len(tt.text), got, tt.want)
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	var got sampleParams
	tests := map[string]struct {
		metadata map[string]string
		creds    contract.Credentials
		message  string
	}{
		"missing, malformed and against the rules": {
			metadata: map[string]string{"queueLength": "many", "count": "-1", "mode": "slow"},
			message: `sample: servers: is required (looked in metadata, serversFromEnv); queueLength: "many" is not a number; ` +
				`deep: is not for slow; count: is negative`,
		},
		"a value that did not convert breaks no rule": {
			metadata: map[string]string{"servers": "a", "count": "-x"},
			message:  `sample: count: "-x" is not an integer`,
		},
		"a variable without a value is named": {
			metadata: map[string]string{"serversFromEnv": "SERVERS"},
			message:  `sample: servers: is required (looked in metadata, serversFromEnv: variable SERVERS has no value)`,
		},
		"the rule of a group is checked once": {
			metadata: map[string]string{"servers": "a"},
			creds:    contract.Credentials{Parameters: map[string]string{"username": "me"}},
			message:  `sample: username: comes with password or not at all`,
		},
		"a target of zero": {
			metadata: map[string]string{"servers": "a", "queueLength": "0"},
			message:  `sample: queueLength: target 0 is not greater than 0`,
		},
		"a target that rounds to zero": {
			metadata: map[string]string{"servers": "a", "queueLength": "0.0004"},
			message:  `sample: queueLength: target 0.0004 is 0 when rounded to thousandths`,
		},
		"a metric type for resources": {
			metadata: map[string]string{"servers": "a", scalerv1.KeyMetricType: "Utilization"},
			message:  `sample: metricType: "Utilization" is for cpu and memory alone: external metrics are AverageValue or Value`,
		},
		"reserved keys are checked too": {
			metadata: map[string]string{"servers": "a", scalerv1.KeyPollingInterval: "0s", scalerv1.KeyTriggerIndex: "x", scalerv1.KeyNoData: "one", scalerv1.KeyEnv: "["},
			message: `sample: triggerIndex: "x" is not a valid integer; pollingInterval: "0s" is not a duration above 0; ` +
				`noData: "one" is none of hold, error, zero; ` +
				`env: is not a JSON object of variables`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sample(&got).bind(ask(tt.metadata), &tt.creds)
			if status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != tt.message {
				t.Errorf("error = %v\nwant InvalidArgument %s", err, tt.message)
			}
		})
	}
}

func TestMetricSourceNeedsNoTarget(t *testing.T) {
	_, b, err := bound(t, map[string]string{"queueLength": "0", scalerv1.KeyMetricSource: "true"}, &contract.Credentials{})
	if err != nil || !b.Object.MetricSource {
		t.Errorf("binding = %+v, %v, want a metric source", b, err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	const secret = "hunter2"
	tests := map[string]struct {
		metadata map[string]string
		creds    contract.Credentials
		message  string
	}{
		"from authentication": {
			creds:   contract.Credentials{Parameters: map[string]string{"small": secret}},
			message: `sample: small: the value from authentication is not an integer`,
		},
		"from a variable": {
			metadata: map[string]string{"smallFromEnv": "S"},
			creds:    contract.Credentials{Env: map[string]string{"S": secret}},
			message:  `sample: small: the value from smallFromEnv is not an integer`,
		},
		"from metadata, where it does not belong": {
			metadata: map[string]string{"token": secret},
			message:  `sample: token: the value from metadata is not one of a, b`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := bound(t, tt.metadata, &tt.creds)
			if message := status.Convert(err).Message(); message != tt.message || strings.Contains(message, secret) {
				t.Errorf("message = %s, want %s", message, tt.message)
			}
		})
	}
}

func TestDidYouMean(t *testing.T) {
	tests := map[string]string{
		"queueLenght":        "unknown parameter, did you mean queueLength?",
		"QueueLength":        "unknown parameter, did you mean queueLength?",
		"queueNameFromEnvv":  "unknown parameter, did you mean queueNameFromEnv?",
		"queuNameFromEnv":    "unknown parameter, did you mean queueNameFromEnv?",
		"queueLengthFromEnv": "ignored, queueLength is only read from metadata",
		"password":           "ignored, password is only read from authentication and passwordFromEnv",
		"whatever":           "unknown parameter",
		"x":                  "unknown parameter",
	}
	for key, want := range tests {
		t.Run(key, func(t *testing.T) {
			_, b, err := bound(t, map[string]string{key: "hunter2", "fading": "x"}, &contract.Credentials{})
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"fading: deprecated, use mode", key + ": " + want}; !slices.Equal(b.Warnings, want) {
				t.Errorf("warnings = %q, want %q", b.Warnings, want)
			}
		})
	}
}

func TestPartialBinding(t *testing.T) {
	env := func(env string) map[string]string {
		return map[string]string{"servers": "", "serversFromEnv": "SERVERS", scalerv1.KeyEnv: env}
	}
	tests := map[string]struct {
		metadata map[string]string
		partial  bool
		message  string
	}{
		"without references it is whole":       {},
		"a literal variable is known":          {metadata: env(`{"SERVERS":{"value":"a:1"}}`)},
		"a variable elsewhere is not":          {metadata: env(`{"SERVERS":{"secretKeyRef":{"name":"s","key":"k"}}}`), partial: true},
		"nor one the request does not have":    {metadata: env(""), partial: true},
		"a blank literal is known to be blank": {metadata: env(`{"SERVERS":{"value":" "}}`), message: "sample: servers: is required (looked in metadata, serversFromEnv: variable SERVERS has no value)"},
		"authentication is read later":         {metadata: map[string]string{scalerv1.KeyAuthenticationRef: "TriggerAuthentication/login"}, partial: true},
		"what is known is checked at once":     {metadata: map[string]string{scalerv1.KeyAuthenticationRef: "TriggerAuthentication/login", "queueLength": "many"}, message: `sample: queueLength: "many" is not a number`},
		"rules wait for the whole":             {metadata: map[string]string{scalerv1.KeyAuthenticationRef: "TriggerAuthentication/login", "count": "-1"}, partial: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, b, err := bound(t, tt.metadata, nil)
			if got := status.Convert(err).Message(); got != tt.message {
				t.Fatalf("message = %q, want %q", got, tt.message)
			}
			if err != nil {
				return
			}
			if (b.Question == "") != tt.partial {
				t.Errorf("question = %q, partial = %v", b.Question, tt.partial)
			}
			if want := []contract.Metric{{Name: "sample-main", Target: 5}}; !slices.Equal(b.Metrics, want) {
				t.Errorf("metrics = %v, want %v", b.Metrics, want)
			}
			if _, err := b.Open(t.Context()); tt.partial && status.Code(err) != codes.FailedPrecondition {
				t.Errorf("open = %v, want FailedPrecondition", err)
			}
		})
	}
}

// A metric is not named before its name is known: an HPA would be built on it.
func TestNameWaitsForItsVariable(t *testing.T) {
	metadata := map[string]string{
		"queueNameFromEnv": "QUEUE", scalerv1.KeyEnv: `{"QUEUE":{"secretKeyRef":{"name":"s","key":"k"}}}`,
	}
	_, partial, err := bound(t, metadata, nil)
	if err != nil {
		t.Fatal(err)
	}
	if partial.Metrics != nil {
		t.Errorf("metrics = %v before the variable is resolved", partial.Metrics)
	}
	_, whole, err := bound(t, metadata, &contract.Credentials{Env: map[string]string{"QUEUE": "orders"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []contract.Metric{{Name: "sample-orders", Target: 5}}; !slices.Equal(whole.Metrics, want) {
		t.Errorf("metrics = %v, want %v", whole.Metrics, want)
	}
}

func TestQuestion(t *testing.T) {
	base := func(edit func(m map[string]string, c *contract.Credentials)) string {
		metadata := map[string]string{"servers": "a:1,b:2", "labels": "a=1,b=2"}
		creds := contract.Credentials{Parameters: map[string]string{"username": "me", "password": "hunter2"}}
		if edit != nil {
			edit(metadata, &creds)
		}
		_, b, err := bound(t, metadata, &creds)
		if err != nil {
			t.Fatal(err)
		}
		return b.Question
	}
	same := map[string]func(map[string]string, *contract.Credentials){
		"another target":           func(m map[string]string, _ *contract.Credentials) { m["queueLength"] = "7" },
		"another activation":       func(m map[string]string, _ *contract.Credentials) { m["activationQueueLength"] = "7" },
		"another object":           func(m map[string]string, _ *contract.Credentials) { m[scalerv1.KeyTriggerIndex] = "4" },
		"the default given":        func(m map[string]string, _ *contract.Credentials) { m["queueName"] = "main" },
		"the other order of a map": func(m map[string]string, _ *contract.Credentials) { m["labels"] = "b=2,a=1" },
		"the other spelling":       func(m map[string]string, _ *contract.Credentials) { m["queue"] = "main" },
		"the same login by variables": func(m map[string]string, c *contract.Credentials) {
			m["usernameFromEnv"], m["passwordFromEnv"] = "U", "P"
			c.Env, c.Parameters = map[string]string{"U": "me", "P": "hunter2"}, nil
		},
	}
	for name, edit := range same {
		t.Run(name, func(t *testing.T) {
			if base(edit) != base(nil) {
				t.Error("the question differs")
			}
		})
	}
	others := map[string]func(map[string]string, *contract.Credentials){
		"another queue":              func(m map[string]string, _ *contract.Credentials) { m["queueName"] = "other" },
		"a value against its zero":   func(m map[string]string, _ *contract.Credentials) { m["small"] = "0" },
		"another password":           func(_ map[string]string, c *contract.Credentials) { c.Parameters["password"] = "hunter3" },
		"another identity":           func(_ map[string]string, c *contract.Credentials) { c.PodIdentity.RoleARN = "arn" },
		"a list cut another way":     func(m map[string]string, _ *contract.Credentials) { m["servers"] = "a:1,b:2," },
		"texts that only look alike": func(m map[string]string, _ *contract.Credentials) { m["queueName"] = "main\"\nsmall=0" },
	}
	for name, edit := range others {
		t.Run(name, func(t *testing.T) {
			if base(edit) == base(nil) {
				t.Error("the question is the same")
			}
		})
	}
}

// TestHostsArePartOfTheQuestion: who may send credentials anywhere shares nothing
// with who may not.
func TestHostsArePartOfTheQuestion(t *testing.T) {
	_, open, err := bound(t, nil, &contract.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	_, limited, err := bound(t, nil, &contract.Credentials{Hosts: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if open.Question == limited.Question {
		t.Error("both ask the same question")
	}
}

func TestObjectAndIdentityAreFilledIn(t *testing.T) {
	got, b, err := bound(t, map[string]string{
		"queueNameFromEnv":           "Q",
		"limitsFromEnv":              "GONE",
		scalerv1.KeyKind:             "ScaledJob",
		scalerv1.KeyTriggerName:      "second",
		scalerv1.KeyTriggerIndex:     "2",
		scalerv1.KeyPollingInterval:  "5s",
		scalerv1.KeyMetricType:       "Value",
		scalerv1.KeyUseCachedMetrics: "true",
	}, &contract.Credentials{Env: map[string]string{"Q": "jobs"}, PodIdentity: contract.PodIdentity{Provider: "aws"}})
	if err != nil {
		t.Fatal(err)
	}
	want := contract.Object{
		Kind: "ScaledJob", Namespace: "shop", Name: "orders", TriggerName: "second", TriggerIndex: 2,
		PollingInterval: 5 * time.Second, MetricType: contract.Value, MetricTypeGiven: true,
		Metadata: map[string]string{"servers": "a:1", "queueNameFromEnv": "jobs"},
	}
	if !reflect.DeepEqual(got.Object, want) {
		t.Errorf("object = %+v, want %+v", got.Object, want)
	}
	if !reflect.DeepEqual(b.Object, want) {
		t.Errorf("binding's object = %+v, want %+v", b.Object, want)
	}
	if got.Provider != "aws" {
		t.Errorf("identity = %+v, want aws", got.PodIdentity)
	}
}

// passedParams are like those of an external scaler.
type passedParams struct {
	contract.Object `question:"true"`
	Address         string `param:"address,required"`
}

func (passedParams) Metrics() []contract.Metric { return nil }

func TestPassingThrough(t *testing.T) {
	trigger := Define("passed", func(context.Context, passedParams) (contract.Source, error) { return nil, nil }, PassesThrough())
	bind := func(extra string, creds *contract.Credentials) *Binding {
		b, err := trigger.bind(ask(map[string]string{"address": "a", "anything": extra, "keyFromEnv": "K"}), creds)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	known := &contract.Credentials{Env: map[string]string{"K": "v"}}
	if b := bind("1", known); b.Warnings != nil || b.Metrics != nil {
		t.Errorf("warnings = %q, metrics = %v, want none", b.Warnings, b.Metrics)
	}
	want := []string{"keyFromEnv: not sent, variable K has no value"}
	if b := bind("1", &contract.Credentials{}); !slices.Equal(b.Warnings, want) {
		t.Errorf("warnings = %q, want %q", b.Warnings, want)
	}
	if bind("1", &contract.Credentials{}).Question == bind("2", &contract.Credentials{}).Question {
		t.Error("an object that is part of the question does not change it")
	}
	if bind("1", nil).Question != "" {
		t.Error("there is a question although a variable is not resolved")
	}
}

// doubtfulParams are valid and probably not meant so.
type doubtfulParams struct {
	Times string `param:"times,required"`
}

func (doubtfulParams) Metrics() []contract.Metric { return []contract.Metric{{Name: "m", Target: 1}} }

func (p doubtfulParams) Warnings() []string { return []string{"times: " + p.Times + " is never"} }

func TestParamsCanWarn(t *testing.T) {
	trigger := Define("doubtful", func(context.Context, doubtfulParams) (contract.Source, error) { return nil, nil })
	b, err := trigger.bind(ask(map[string]string{"times": "February 30", "time": "x"}), &contract.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"time: unknown parameter, did you mean times?", "times: February 30 is never"}
	if !slices.Equal(b.Warnings, want) {
		t.Errorf("warnings = %q, want %q", b.Warnings, want)
	}
}

// placedParams read what belongs to the object's namespace.
type placedParams struct {
	contract.Object `question:"namespace"`
	// IgnoreEmpty decides what no data becomes.
	IgnoreEmpty bool `param:"ignoreEmpty"`
	// Headers are sent along.
	Headers map[string]string `param:"headers" values:"any"`
}

func (placedParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "placed", Target: 1}}
}
func (p placedParams) NoData() contract.NoDataRule {
	if p.IgnoreEmpty {
		return contract.NoDataZero
	}
	return contract.NoDataError
}

func TestNamespaceIsPartOfTheQuestion(t *testing.T) {
	trigger := Define("placed", func(context.Context, placedParams) (contract.Source, error) { return nil, nil })
	question := func(namespace, name string) string {
		r := ask(nil)
		r.Ref.Namespace, r.Ref.Name = namespace, name
		b, err := trigger.bind(r, &contract.Credentials{})
		if err != nil {
			t.Fatal(err)
		}
		return b.Question
	}
	if question("shop", "a") != question("shop", "b") {
		t.Error("two objects of one namespace ask different questions")
	}
	if question("shop", "a") == question("bank", "a") {
		t.Error("objects of two namespaces ask one question")
	}
}

func TestTheUserDecidesOnNoData(t *testing.T) {
	trigger := Define("placed", func(context.Context, placedParams) (contract.Source, error) { return nil, nil }, OnNoData(contract.NoDataHold))
	for text, want := range map[string]contract.NoDataRule{"hold": contract.NoDataHold, "error": contract.NoDataError, "zero": contract.NoDataZero, "": contract.NoDataError} {
		b, err := trigger.bind(ask(map[string]string{"namespace": "shop", scalerv1.KeyNoData: text}), &contract.Credentials{})
		if err != nil || b.NoData != want {
			t.Errorf("%q: %+v, %v", text, b, err)
		}
	}
}

func TestParamsDecideOnNoData(t *testing.T) {
	trigger := Define("placed", func(context.Context, placedParams) (contract.Source, error) { return nil, nil }, OnNoData(contract.NoDataHold))
	for text, want := range map[string]contract.NoDataRule{"true": contract.NoDataZero, "false": contract.NoDataError} {
		b, err := trigger.bind(ask(map[string]string{"ignoreEmpty": text}), &contract.Credentials{})
		if err != nil || b.NoData != want {
			t.Errorf("ignoreEmpty %s: rule %v, %v, want %s", text, b.NoData, err, want)
		}
	}
}

func TestMapOfAnyValues(t *testing.T) {
	var got map[string]string
	trigger := Define("placed", func(_ context.Context, p placedParams) (contract.Source, error) { got = p.Headers; return nil, nil })
	b, err := trigger.bind(ask(map[string]string{"headers": "a=MQ==,b==, c="}), &contract.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"a": "MQ==", "b": "=", "c": ""}; !maps.Equal(got, want) {
		t.Errorf("headers = %v, want %v", got, want)
	}
	_, err = trigger.bind(ask(map[string]string{"headers": "a"}), &contract.Credentials{})
	if want := `placed: headers: "a" is not one "key=value"`; status.Convert(err).Message() != want {
		t.Errorf("error = %v, want %q", err, want)
	}
}

// shapedParams have everything that is optional.
type shapedParams struct {
	Cap float64 `param:"cap" default:"3" role:"target" question:"true"`
}

func (p shapedParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: "shaped", Target: p.Cap}}
}
func (p shapedParams) Silent() string { return "metered" }
func (p shapedParams) Shape(raw []contract.Reading) []contract.Reading {
	return contract.One(min(raw[0].Value, p.Cap))
}

func TestTraitsReachTheBinding(t *testing.T) {
	trigger := Define("shaped", func(context.Context, shapedParams) (contract.Source, error) { return nil, nil },
		OnNoData(contract.NoDataHold), RingsAt("one fetch"))
	b, err := trigger.bind(ask(nil), &contract.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	if b.NoData != contract.NoDataHold || b.Silent != "metered" || b.Shape(contract.One(9))[0].Value != 3 {
		t.Errorf("binding = %+v", b)
	}
	if d := trigger.description; d.GetDetectionCost() != "one fetch" || !d.GetParameters()[0].GetQuestion() {
		t.Errorf("description = %v", d)
	}
}

// Params whose metrics cannot be known.
type (
	namelessParams struct {
		Target float64 `param:"target" role:"target"`
	}
	aimlessParams   struct{ title }
	undecidedParams struct {
		title
		First  float64 `param:"first" role:"target"`
		Second float64 `param:"second" role:"target"`
	}
	title struct{}
)

func (title) Name() string { return "named" }

func TestMetricsThatCannotBeKnownPanicWhenDefined(t *testing.T) {
	for name, define := range map[string]func(){
		"neither name nor metrics": func() { Define[namelessParams]("nameless", nil) },
		"a name without a target":  func() { Define[aimlessParams]("aimless", nil) },
		"a name with two targets":  func() { Define[undecidedParams]("undecided", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			define()
		})
	}
}

// countedParams have thresholds of every type that a number may have.
type countedParams struct {
	Target     *int32 `param:"target" role:"target"`
	Activation int64  `param:"activation" default:"3" role:"activation"`
	Empty      bool   `param:"empty"`
}

func (p countedParams) Name() string {
	if p.Empty {
		return ""
	}
	return "counted"
}

func TestMetricOfNameAndRoles(t *testing.T) {
	counted := Define("counted", func(context.Context, countedParams) (contract.Source, error) { return nil, nil })
	for name, tt := range map[string]struct {
		metadata map[string]string
		want     []contract.Metric
		message  string
	}{
		"both":             {map[string]string{"target": "7"}, []contract.Metric{{Name: "counted", Target: 7, Activation: 3}}, ""},
		"no target":        {nil, nil, "counted: target: target 0 is not greater than 0"},
		"a name not known": {map[string]string{"empty": "true"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := counted.bind(ask(tt.metadata), &contract.Credentials{})
			if status.Convert(err).Message() != tt.message {
				t.Fatalf("error = %v, want %q", err, tt.message)
			}
			if err == nil && !slices.Equal(b.Metrics, tt.want) {
				t.Errorf("metrics = %v, want %v", b.Metrics, tt.want)
			}
		})
	}
}

func TestMalformedTagsPanicWhenDefined(t *testing.T) {
	tests := map[string]struct{ params any }{
		"unknown tag": {struct {
			A string `param:"a" fallback:"5"`
		}{}},
		"unknown source": {struct {
			A string `param:"a" from:"metadata"`
		}{}},
		"a role that is no number": {struct {
			A string `param:"a" role:"target"`
		}{}},
		"unknown role": {struct {
			A string `param:"a" role:"goal"`
		}{}},
		"a default that is no number": {struct {
			A int `param:"a" default:"x"`
		}{}},
		"a default outside of enum": {struct {
			A string `param:"a" default:"x" enum:"y"`
		}{}},
		"required with a default": {struct {
			A string `param:"a,required" default:"x"`
		}{}},
		"unknown flag": {struct {
			A string `param:"a,optional"`
		}{}},
		"a type without a syntax": {struct {
			A []float64 `param:"a"`
		}{}},
		"a key that is there twice": {struct {
			A string `param:"a"`
			B string `param:"b" alias:"a"`
		}{}},
		"a field that is hidden": {struct {
			a string `param:"a"`
		}{}},
		"exclusive without a list": {struct {
			A string `param:"a" exclusive:"x,y"`
		}{}},
		"without what is no parameter": {struct {
			A string `param:"a" without:"b"`
		}{}},
		"without and with a default": {struct {
			A string `param:"a" default:"x" without:"b"`
			B string `param:"b"`
		}{}},
		"without and required": {struct {
			A string `param:"a,required" without:"b"`
			B string `param:"b"`
		}{}},
		"a truth that is none": {struct {
			A string `param:"a" question:"no"`
		}{}},
		"no struct": {5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			params.Of(reflect.TypeOf(tt.params))
		})
	}
}

// FuzzParse holds every syntax against any text: no panic, and what is refused
// from authentication is never shown.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"5", "1-9,3", "a=b,c=d", "a=%20&b", "-1h", "1e400", "\xff", "\"\n"} {
		f.Add(text)
	}
	trigger := sample(new(sampleParams))
	f.Fuzz(func(t *testing.T, text string) {
		metadata := map[string]string{"servers": "a", "limits": text, "labels": text, "extra": text, "timeout": text, "queueLength": text}
		creds := &contract.Credentials{Parameters: map[string]string{"small": text + "hunter2"}}
		_, err := trigger.bind(ask(metadata), creds)
		if err == nil {
			t.Fatal("a text was taken for a number")
		}
		if message := status.Convert(err).Message(); strings.Contains(message, "hunter2") && !strings.Contains(text, "hunter2") {
			t.Errorf("a secret is shown: %s", message)
		}
	})
}

// hostParams rely, for their names, on what Validate refuses.
type hostParams struct {
	URL string `param:"url,required"`
}

func (p hostParams) url() *url.URL {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" {
		return nil
	}
	return u
}

func (p hostParams) Validate() error {
	if p.url() == nil {
		return errors.New("url: is none")
	}
	return nil
}

func (p hostParams) Metrics() []contract.Metric {
	return []contract.Metric{{Name: p.url().Host, Target: 1}}
}

func TestMetricsThatRelyOnWhatIsWrongAreNotKnown(t *testing.T) {
	trigger := Define("host", func(context.Context, hostParams) (contract.Source, error) { return nil, nil })
	_, err := trigger.bind(Request{Ref: &externalscaler.ScaledObjectRef{ScalerMetadata: map[string]string{"url": "nowhere", "ulr": "http://here"}}}, nil)
	var r *RejectionError
	if !errors.As(err, &r) || len(r.Metrics) != 0 || status.Convert(err).Message() != "host: url: is none; ulr: unknown parameter" {
		t.Errorf("%v with %v", err, r)
	}
}

// addressParams can do without the parameter, but not without all of them.
type addressParams struct {
	Address string `param:"address" from:"trigger,env"`
	Host    string `param:"host" from:"trigger,env"`
}

func (p addressParams) Validate() error {
	if p.Address == "" && p.Host == "" {
		return errors.New("address: or host is required")
	}
	return nil
}

func (addressParams) Metrics() []contract.Metric { return []contract.Metric{{Name: "n", Target: 1}} }

func TestAVariableThatDoesNotExistIsNamed(t *testing.T) {
	trigger := Define("place", func(context.Context, addressParams) (contract.Source, error) { return nil, nil })
	bind := func(metadata map[string]string) (*Binding, error) {
		return trigger.bind(Request{Ref: &externalscaler.ScaledObjectRef{ScalerMetadata: metadata}}, &contract.Credentials{})
	}
	if b, err := bind(map[string]string{"addressFromEnv": "NOPE", "host": "here"}); err != nil || !slices.Equal(b.Warnings, []string{"addressFromEnv: variable NOPE has no value"}) {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := bind(map[string]string{"addressFromEnv": "NOPE"}); status.Convert(err).Message() != "place: address: or host is required; addressFromEnv: variable NOPE has no value" {
		t.Errorf("%v", err)
	}
}
