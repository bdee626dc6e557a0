package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/lending"
)

// dynamoDB scales on the number of items that a query of one DynamoDB table
// matches. Every read consumes read capacity of the table.
var dynamoDB = scaler.Define("aws-dynamodb", openDynamoDB)

// dynamoDBParams is the metadata of an aws-dynamodb trigger.
type dynamoDBParams struct {
	scaler.Object
	awsParams

	// TableName is the table that is queried.
	TableName string `param:"tableName,required"`
	// IndexName is a secondary index of the table to query instead.
	IndexName string `param:"indexName"`
	// KeyConditionExpression selects items by their key.
	KeyConditionExpression string `param:"keyConditionExpression,required" long:"true"`
	// FilterExpression drops items that were selected, after they were read.
	FilterExpression string `param:"filterExpression" long:"true"`
	// ExpressionAttributeNames is a JSON object of the names that stand for
	// others in the expressions.
	ExpressionAttributeNames string `param:"expressionAttributeNames,required" long:"true"`
	// ExpressionAttributeValues is a JSON object of the values in the
	// expressions, each an object with one of the types S, N (the number as a
	// string), BOOL, B, L, M and NULL as its key.
	ExpressionAttributeValues string `param:"expressionAttributeValues,required" long:"true"`
	// TargetValue is the target: items per replica. It is required unless the
	// trigger only feeds a formula; -1 is as good as none.
	TargetValue *int64 `param:"targetValue" role:"target" unit:"items"`
	// ActivationTargetValue is the activation threshold.
	ActivationTargetValue int64 `param:"activationTargetValue" default:"0" role:"activation" unit:"items"`
}

// Validate checks the texts that are JSON, and the target.
func (p dynamoDBParams) Validate() error {
	var problems []error
	if p.ExpressionAttributeNames != "" {
		_, err := attributeNames(p.ExpressionAttributeNames)
		problems = append(problems, prefixed("expressionAttributeNames", err))
	}
	if p.ExpressionAttributeValues != "" {
		_, err := attributeValues(p.ExpressionAttributeValues)
		problems = append(problems, prefixed("expressionAttributeValues", err))
	}
	if p.target() == 0 && !p.MetricSource && (p.TargetValue == nil || *p.TargetValue == -1) {
		problems = append(problems, errors.New("targetValue: no target value is given"))
	}
	return errors.Join(problems...)
}

func prefixed(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}

// target is 0 when none is given.
func (p dynamoDBParams) target() int64 {
	if p.TargetValue == nil || *p.TargetValue == -1 {
		return 0
	}
	return *p.TargetValue
}

// Metrics names the table.
func (p dynamoDBParams) Metrics() []scaler.Metric {
	return []scaler.Metric{{
		Name:       scaler.MetricName("aws-dynamodb", p.TableName),
		Target:     float64(p.target()),
		Activation: float64(p.ActivationTargetValue),
	}}
}

// attributeNames reads expressionAttributeNames.
func attributeNames(text string) (map[string]string, error) {
	var names map[string]string
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return nil, errors.New("is not a JSON object of strings")
	}
	if len(names) == 0 {
		return nil, errors.New("is empty")
	}
	return names, nil
}

// dynamoDBSource reads one query.
type dynamoDBSource struct {
	*service[*dynamodb.Client]
	query dynamodb.QueryInput
}

func connectDynamoDB(ctx context.Context, p awsParams, table string) (*service[*dynamodb.Client], error) {
	return connect(ctx, p, lending.AmazonDynamoDB, ownerOf(table), func(c aws.Config) *dynamodb.Client { return dynamodb.NewFromConfig(c) })
}

func openDynamoDB(ctx context.Context, p dynamoDBParams) (scaler.Source, error) {
	names, err := attributeNames(p.ExpressionAttributeNames)
	if err != nil {
		return nil, err
	}
	values, err := attributeValues(p.ExpressionAttributeValues)
	if err != nil {
		return nil, err
	}
	s, err := connectDynamoDB(ctx, p.awsParams, p.TableName)
	if err != nil {
		return nil, err
	}
	return &dynamoDBSource{service: s, query: dynamodb.QueryInput{
		TableName:                 &p.TableName,
		IndexName:                 given(p.IndexName),
		KeyConditionExpression:    &p.KeyConditionExpression,
		FilterExpression:          given(p.FilterExpression),
		ExpressionAttributeNames:  names,
		ExpressionAttributeValues: values,
		Select:                    types.SelectCount,
	}}, nil
}

// given is nil for an empty text.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Read returns the number of items. An answer holds what the first megabyte of
// the query has; all of them count, as far as the deadline reaches.
func (s *dynamoDBSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	what, question, items := "table "+*s.query.TableName, s.query, int64(0)
	for {
		answer := &counted{}
		out, err := s.client.Query(ctx, &question, dynamodb.WithAPIOptions(answer.watch))
		if err != nil {
			return nil, s.failure(what, err)
		}
		if !answer.has {
			return nil, scaler.Errorf(codes.Unavailable, "%s: the answer lacks the number of items", what)
		}
		items += int64(out.Count)
		if len(out.LastEvaluatedKey) == 0 {
			return scaler.One(float64(items)), nil
		}
		question.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// counted tells an answer whose count is 0 from one without a count, which the
// library takes for the same.
type counted struct{ has bool }

func (c *counted) watch(stack *middleware.Stack) error {
	look := middleware.DeserializeMiddlewareFunc("Counted", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
		middleware.DeserializeOutput, middleware.Metadata, error,
	) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		answer, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok {
			return out, metadata, err
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body = again{bytes.NewReader(text), answer.Body}
		var read struct{ Count *int64 }
		c.has = err == nil && json.Unmarshal(text, &read) == nil && read.Count != nil
		return out, metadata, err
	})
	return stack.Deserialize.Insert(look, "OperationDeserializer", middleware.After)
}

// again is a body that was read and can be read once more.
type again struct {
	io.Reader
	io.Closer
}
