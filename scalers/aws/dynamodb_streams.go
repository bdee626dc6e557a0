package main

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// dynamoDBStreams scales on the number of shards of the stream of one DynamoDB
// table, closed ones that are still listed included.
var dynamoDBStreams = scaler.Define("aws-dynamodb-streams", openDynamoDBStreams)

// dynamoDBStreamsParams is the metadata of an aws-dynamodb-streams trigger.
type dynamoDBStreamsParams struct {
	awsParams

	// TableName is the table whose stream is read.
	TableName string `param:"tableName,required"`
	// ShardCount is the target: shards per replica.
	ShardCount int64 `param:"shardCount" default:"2" role:"target" unit:"shards"`
	// ActivationShardCount is the activation threshold.
	ActivationShardCount int64 `param:"activationShardCount" default:"0" role:"activation" unit:"shards"`
}

// Name is that of the table.
func (p dynamoDBStreamsParams) Name() string {
	return scaler.MetricName("aws-dynamodb-streams", p.TableName)
}

// dynamoDBStreamsSource reads the stream of one table.
type dynamoDBStreamsSource struct {
	tables  *service[*dynamodb.Client]
	streams *service[*dynamodbstreams.Client]
	table   string
	arn     string // of the stream; empty until it is looked up
}

func openDynamoDBStreams(ctx context.Context, p dynamoDBStreamsParams) (scaler.Source, error) {
	streams, err := connect(ctx, p.awsParams, lending.AmazonDynamoDBStreams, ownerOf(p.TableName), func(c aws.Config) *dynamodbstreams.Client { return dynamodbstreams.NewFromConfig(c) })
	if err != nil {
		return nil, err
	}
	tables, err := connectDynamoDB(ctx, p.awsParams, p.TableName)
	if err != nil {
		return nil, err
	}
	return &dynamoDBStreamsSource{tables: tables, streams: streams, table: p.TableName}, nil
}

// Read returns the shards of the table's latest stream. A stream that was
// turned off and on again has another ARN, which is looked up at once.
func (s *dynamoDBStreamsSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	known := s.arn != ""
	shards, err := s.count(ctx)
	if known && status.Code(err) == codes.NotFound {
		s.arn = ""
		shards, err = s.count(ctx)
	}
	if err != nil {
		return nil, err
	}
	return scaler.One(float64(shards)), nil
}

func (s *dynamoDBStreamsSource) count(ctx context.Context) (int, error) {
	if err := s.lookUp(ctx); err != nil {
		return 0, err
	}
	shards := 0
	for question := (&dynamodbstreams.DescribeStreamInput{StreamArn: &s.arn}); ; {
		out, err := s.streams.client.DescribeStream(ctx, question)
		if err != nil {
			return 0, s.streams.failure("stream of table "+s.table, err)
		}
		if out.StreamDescription == nil || out.StreamDescription.Shards == nil {
			return 0, scaler.Errorf(codes.Unavailable, "stream of table %s: the answer lacks the shards", s.table)
		}
		shards += len(out.StreamDescription.Shards)
		if out.StreamDescription.LastEvaluatedShardId == nil {
			return shards, nil
		}
		question.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId
	}
}

// longestARN is what AWS lets that of a stream have.
const longestARN = 1024

func (s *dynamoDBStreamsSource) lookUp(ctx context.Context) error {
	if s.arn != "" {
		return nil
	}
	out, err := s.tables.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.table})
	if err != nil {
		return s.tables.failure("table "+s.table, err)
	}
	if out.Table == nil {
		return scaler.Errorf(codes.Unavailable, "table %s: the answer lacks the table", s.table)
	}
	switch n := len(aws.ToString(out.Table.LatestStreamArn)); {
	case n == 0:
		return scaler.Errorf(codes.NotFound, "table %s: has no stream ARN, turn its stream on", s.table)
	case n > longestARN:
		return scaler.Errorf(codes.Unavailable, "table %s: the ARN of its stream has more than %d characters", s.table, longestARN)
	}
	s.arn = *out.Table.LatestStreamArn
	return nil
}
