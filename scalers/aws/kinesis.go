package main

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// kinesisStream scales on the number of open shards of one Kinesis data stream.
// A stream has at least one, so with the default activation threshold the
// trigger is always active.
var kinesisStream = scaler.Define("aws-kinesis-stream", openKinesis)

// kinesisParams is the metadata of an aws-kinesis-stream trigger.
type kinesisParams struct {
	awsParams

	// StreamName is the name of the stream, not its ARN.
	StreamName string `param:"streamName,required"`
	// ShardCount is the target: shards per replica.
	ShardCount int64 `param:"shardCount" default:"2" role:"target" unit:"shards"`
	// ActivationShardCount is the activation threshold.
	ActivationShardCount int64 `param:"activationShardCount" default:"0" role:"activation" unit:"shards"`
}

// Name is that of the stream.
func (p kinesisParams) Name() string { return scaler.MetricName("aws-kinesis", p.StreamName) }

// kinesisSource reads one stream.
type kinesisSource struct {
	*service[*kinesis.Client]
	stream string
}

func openKinesis(ctx context.Context, p kinesisParams) (scaler.Source, error) {
	s, err := connect(ctx, p.awsParams, lending.AmazonKinesis, "", func(c aws.Config) *kinesis.Client { return kinesis.NewFromConfig(c) })
	if err != nil {
		return nil, err
	}
	return &kinesisSource{service: s, stream: p.StreamName}, nil
}

// Read returns the open shards; closed ones do not count.
func (s *kinesisSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	what := "stream " + s.stream
	out, err := s.client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &s.stream})
	if err != nil {
		return nil, s.failure(what, err)
	}
	if out.StreamDescriptionSummary == nil || out.StreamDescriptionSummary.OpenShardCount == nil {
		return nil, scaler.Errorf(codes.Unavailable, "%s: the answer lacks the number of open shards", what)
	}
	return scaler.One(float64(*out.StreamDescriptionSummary.OpenShardCount)), nil
}
