package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
)

// pubSub scales on a metric that Cloud Monitoring has of a Pub/Sub subscription or
// topic, such as the messages that a subscription has not delivered.
var pubSub = scaler.Define("gcp-pubsub", openPubSub)

// pubSubParams is the metadata of a gcp-pubsub trigger.
type pubSubParams struct {
	scaler.Object
	identityParams

	// SubscriptionName is the id of a subscription, or
	// projects/<project>/subscriptions/<id>. Either it or topicName is given.
	SubscriptionName string `param:"subscriptionName" from:"trigger,env"`
	// TopicName is the id of a topic, or projects/<project>/topics/<id>.
	TopicName string `param:"topicName" from:"trigger,env"`
	// Mode is the name of the metric in CamelCase, such as NumUndeliveredMessages,
	// which SubscriptionSize means too, or OldestUnackedMessageAge.
	Mode string `param:"mode" default:"SubscriptionSize"`
	// Value is the target, in the unit of the metric.
	Value float64 `param:"value" default:"10" role:"target"`
	// ActivationValue is the activation threshold.
	ActivationValue float64 `param:"activationValue" default:"0" role:"activation"`
	// Aggregation makes one number of the changes within 3 minutes of all series:
	// mean, median, variance, stddev, sum, count or percentile<0-100>. It is for
	// metrics that count, distributions above all.
	Aggregation string `param:"aggregation"`
	// TimeHorizon is how far back a value is looked for: 2m, or 5m with an
	// aggregation, when absent or 0.
	TimeHorizon time.Duration `param:"timeHorizon"`
	// ValueIfNull is the value while there is no series; without it, that is an
	// error.
	ValueIfNull *float64 `param:"valueIfNull"`
	// SubscriptionSize was the target.
	SubscriptionSize string `param:"subscriptionSize" removed:"use mode: SubscriptionSize and value: <target>"`
}

// resourcePath is a name that says which project it is of.
var resourcePath = regexp.MustCompile(`projects/([^/]+)/(?:subscriptions|topics)/([^/]+)`)

// resourceID is what Pub/Sub accepts as an id, which must not start with goog
// either.
var resourceID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}$`)

// resource is a subscription or a topic.
type resource struct {
	kind    string // subscription or topic
	project string // "" for that of the account
	id      string
}

// resource is the one that the trigger names.
func (p pubSubParams) resource() resource {
	r := resource{kind: "subscription", id: p.SubscriptionName}
	if p.TopicName != "" {
		r.kind, r.id = "topic", p.TopicName
	}
	if path := resourcePath.FindStringSubmatch(r.id); path != nil {
		r.project, r.id = path[1], path[2]
	}
	return r
}

// Validate checks that one resource is named, and how.
func (p pubSubParams) Validate() error {
	problems := []error{p.checkIdentity()}
	r := p.resource()
	switch {
	case p.SubscriptionName != "" && p.TopicName != "":
		problems = append(problems, errors.New("subscriptionName: cannot be combined with topicName"))
	case p.SubscriptionName == "" && p.TopicName == "":
		problems = append(problems, errors.New("subscriptionName: either it or topicName is required"))
	case !resourceID.MatchString(r.id) || strings.HasPrefix(strings.ToLower(r.id), "goog"):
		problems = append(problems, fmt.Errorf("%sName: %q is not the id of a %s: 3 to 255 letters, digits and -_.~+%%, a letter first, and not goog", r.kind, r.id, r.kind))
	}
	if r.project != "" {
		problems = append(problems, checkID(r.kind+"Name", r.project))
	}
	if _, err := p.function(); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// Warnings are those of KEDA, for who gives a value.
func (p pubSubParams) Warnings() []string {
	if strings.TrimSpace(p.Metadata["value"]) == "" {
		return nil
	}
	return announced("value")
}

// Name is that of the subscription or topic as it is given.
func (p pubSubParams) Name() string {
	if p.TopicName != "" {
		return scaler.MetricName("gcp-ps", p.TopicName)
	}
	return scaler.MetricName("gcp-ps", p.SubscriptionName)
}

// metric is the type of the metric: pubsub.googleapis.com/<kind>/<mode>.
func (p pubSubParams) metric() string {
	mode := p.Mode
	if mode == "SubscriptionSize" {
		mode = "NumUndeliveredMessages"
	}
	return "pubsub.googleapis.com/" + p.resource().kind + "/" + snakeCase(mode)
}

// snakeCase puts an underscore before each word of a name in CamelCase.
func snakeCase(name string) string {
	var snake strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		if unicode.IsUpper(r) && i > 0 && letters[i-1] != '_' {
			after := unicode.IsLower(letters[i-1]) || unicode.IsDigit(letters[i-1])
			before := i+1 < len(letters) && unicode.IsLower(letters[i+1])
			if after || before {
				snake.WriteByte('_')
			}
		}
		snake.WriteRune(unicode.ToLower(r))
	}
	return snake.String()
}

// horizon is how far back a value is looked for.
func (p pubSubParams) horizon() time.Duration {
	switch {
	case p.TimeHorizon > 0:
		return p.TimeHorizon
	case p.Aggregation != "":
		return 5 * time.Minute
	default:
		return 2 * time.Minute
	}
}

// function is an aggregation over series.
type function struct {
	reducer monitoringpb.Aggregation_Reducer // none where only the query language has it
	squared bool                             // the value is the square of what the reducer gives
	mql     string                           // as the query language calls it
}

// functions are those without a number.
var functions = map[string]function{
	"mean":     {reducer: monitoringpb.Aggregation_REDUCE_MEAN, mql: "mean(value)"},
	"median":   {reducer: monitoringpb.Aggregation_REDUCE_PERCENTILE_50, mql: "median(value)"},
	"variance": {reducer: monitoringpb.Aggregation_REDUCE_STDDEV, squared: true, mql: "variance(value)"},
	"stddev":   {reducer: monitoringpb.Aggregation_REDUCE_STDDEV, mql: "stddev(value)"},
	"sum":      {reducer: monitoringpb.Aggregation_REDUCE_SUM, mql: "sum(value)"},
	"count":    {reducer: monitoringpb.Aggregation_REDUCE_COUNT, mql: "count(value)"},
}

// percentiles are those that reducers know.
var percentiles = map[int]monitoringpb.Aggregation_Reducer{
	99: monitoringpb.Aggregation_REDUCE_PERCENTILE_99, 95: monitoringpb.Aggregation_REDUCE_PERCENTILE_95,
	50: monitoringpb.Aggregation_REDUCE_PERCENTILE_50, 5: monitoringpb.Aggregation_REDUCE_PERCENTILE_05,
}

// function is the aggregation of the trigger, nil for none.
func (p pubSubParams) function() (*function, error) {
	if p.Aggregation == "" {
		return nil, nil //nolint:nilnil // there is none, and nothing is wrong
	}
	if f, known := functions[p.Aggregation]; known {
		return &f, nil
	}
	text, isPercentile := strings.CutPrefix(p.Aggregation, "percentile")
	n, err := strconv.Atoi(text)
	if !isPercentile || err != nil || strings.ContainsAny(text, "+-") || n > 100 {
		return nil, fmt.Errorf("aggregation: %q is not one of mean, median, variance, stddev, sum, count, percentile<0-100>", p.Aggregation)
	}
	return &function{reducer: percentiles[n], mql: fmt.Sprintf("percentile(value, %d)", n)}, nil
}

func openPubSub(ctx context.Context, p pubSubParams) (scaler.Source, error) {
	m, err := p.monitored(ctx)
	if err != nil {
		return nil, err
	}
	r := p.resource()
	what := r.kind + " " + r.id
	if r.project == "" {
		r.project = m.account.Project(ctx)
	}
	if r.project == "" {
		return nil, scaler.Errorf(codes.FailedPrecondition,
			"%s: the project is not known: name it as projects/<project>/%ss/%s (the key has no project_id, and the family no CLOUDSDK_CORE_PROJECT)", what, r.kind, r.id)
	}
	f, err := p.function()
	if err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "%w", err)
	}
	project, err := m.of(ctx, p.identityParams, r.project)
	if err != nil {
		return nil, err
	}
	q := resourceQuery{
		project: project, metric: p.metric(), kind: "pubsub_" + r.kind, label: r.kind + "_id", window: p.horizon(),
	}
	if f != nil {
		q.aggregated, q.function = true, *f
	}
	return scaler.Join(q, &resourceSource{
		query: q, id: r.id, what: fmt.Sprintf("%s of %s of project %s", q.metric, what, r.project), substitute: p.ValueIfNull,
		hint: fmt.Sprintf(" within %s (values come up to 4 minutes late, and a new %s has none: see timeHorizon and valueIfNull)", q.window, r.kind),
	}), nil
}
