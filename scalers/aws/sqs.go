package main

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// sqsQueue scales on the backlog of one Amazon SQS queue.
var sqsQueue = scaler.Define("aws-sqs-queue", openSQS)

// sqsParams is the metadata of an aws-sqs-queue trigger.
type sqsParams struct {
	awsParams

	// QueueURL locates the queue: its URL, or its name in the account and
	// region that ask.
	QueueURL string `param:"queueURL,required" from:"trigger,env"`
	// QueueLength is the target: messages one replica is expected to carry.
	QueueLength int64 `param:"queueLength" default:"5" role:"target" unit:"messages"`
	// ActivationQueueLength is the activation threshold.
	ActivationQueueLength int64 `param:"activationQueueLength" default:"0" role:"activation" unit:"messages"`
	// ScaleOnInFlight also counts messages that were received and are not
	// deleted yet.
	ScaleOnInFlight bool `param:"scaleOnInFlight" default:"true"`
	// ScaleOnDelayed also counts messages that cannot be received yet.
	ScaleOnDelayed bool `param:"scaleOnDelayed" default:"false"`
}

// Validate checks that the queue has a name.
func (p sqsParams) Validate() error {
	if p.QueueURL != "" && p.queueName() == "" {
		return errors.New("queueURL: the name of the queue cannot be taken from the queue URL, whose path is not /<account>/<name>")
	}
	return nil
}

// queueName is the last part of a URL, else the whole text. Emulators put more
// in front of account and name; it is empty when there is less.
func (p sqsParams) queueName() string {
	u, err := url.ParseRequestURI(p.QueueURL)
	if err != nil {
		return p.QueueURL
	}
	parts := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' })
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-1]
}

// Name is that of the queue.
func (p sqsParams) Name() string { return scaler.MetricName("aws-sqs", p.queueName()) }

// sqsSource reads one queue.
type sqsSource struct {
	*service[*sqs.Client]
	queueURL string
	counts   []types.QueueAttributeName // the counters added up by Read
}

func openSQS(ctx context.Context, p sqsParams) (scaler.Source, error) {
	s, err := connect(ctx, p.awsParams, lending.AmazonSQS, ownerOf(p.QueueURL), func(c aws.Config) *sqs.Client { return sqs.NewFromConfig(c) })
	if err != nil {
		return nil, err
	}
	counts := []types.QueueAttributeName{types.QueueAttributeNameApproximateNumberOfMessages}
	if p.ScaleOnInFlight {
		counts = append(counts, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)
	}
	if p.ScaleOnDelayed {
		counts = append(counts, types.QueueAttributeNameApproximateNumberOfMessagesDelayed)
	}
	return &sqsSource{service: s, queueURL: p.QueueURL, counts: counts}, nil
}

// Read returns the backlog in messages, as approximate as SQS counts it.
func (s *sqsSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	what := "queue " + s.queueURL
	out, err := s.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl:       &s.queueURL,
		AttributeNames: s.counts,
	})
	if err != nil {
		return nil, s.failure(what, err)
	}
	var backlog int64
	for _, name := range s.counts {
		text, there := out.Attributes[string(name)]
		if !there {
			return nil, scaler.Errorf(codes.Unavailable, "%s: the answer lacks the attribute %s", what, name)
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, scaler.Errorf(codes.Unavailable, "%s: the attribute %s is not an integer", what, name)
		}
		backlog += n
	}
	return scaler.One(float64(backlog)), nil
}
