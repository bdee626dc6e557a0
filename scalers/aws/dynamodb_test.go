package main

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"google.golang.org/grpc/codes"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = contract("aws-dynamodb", kind{
	make: func(t testing.TB, m *servers.MotoServer, name string) {
		put(t, table(t, m, name, true), name, "waiting", 3, 1)
	},
	metadata: func(name string) map[string]string {
		return map[string]string{"tableName": name, "targetValue": "1", "keyConditionExpression": "#s = :s",
			"expressionAttributeNames": `{"#s":"state"}`, "expressionAttributeValues": `{":s":{"S":"waiting"}}`}
	},
	value:   3,
	what:    "table NAME: DynamoDB Query: ",
	lacking: "table NAME: the answer lacks the number of items",
})

var _ = contract("aws-dynamodb-streams", kind{
	make:     func(t testing.TB, m *servers.MotoServer, name string) { table(t, m, name+"-streamed", true) },
	metadata: func(name string) map[string]string { return map[string]string{"tableName": name + "-streamed"} },
	value:    1,
	what:     "table NAME-streamed: DynamoDB DescribeTable: ",
	lacking:  "table NAME-streamed: the answer lacks the table",
})

// table makes a table of items with a state and a padding.
func table(t testing.TB, m *servers.MotoServer, name string, streamed bool) *dynamodb.Client {
	t.Helper()
	client := dynamodb.NewFromConfig(owner(m))
	_, err := client.CreateTable(within(t), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("state"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeN},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String("state"), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String("id"), KeyType: types.KeyTypeRange},
		},
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(streamed), StreamViewType: viewType(streamed)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func viewType(streamed bool) types.StreamViewType {
	if streamed {
		return types.StreamViewTypeNewImage
	}
	return ""
}

func put(t testing.TB, client *dynamodb.Client, table, state string, n, padding int) {
	t.Helper()
	for i := range n {
		_, err := client.PutItem(within(t), &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{
			"state": &types.AttributeValueMemberS{Value: state}, "id": &types.AttributeValueMemberN{Value: strconv.Itoa(i)},
			"padding": &types.AttributeValueMemberS{Value: strings.Repeat("x", padding)},
			"kind":    &types.AttributeValueMemberS{Value: []string{"small", "large"}[i%2]},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestDynamoDB(t *testing.T) {
	m := servers.SharedMoto(t)
	client := table(t, m, "jobs", false)
	put(t, client, "jobs", "waiting", 3, 1)
	put(t, client, "jobs", "huge", 6, 300<<10) // more than one answer holds
	valid := map[string]string{
		"tableName": "jobs", "targetValue": "2", "keyConditionExpression": "#s = :s",
		"expressionAttributeNames": `{"#s":"state"}`, "expressionAttributeValues": `{":s":{"S":"waiting"}}`,
	}
	family := scalertest.Serve(t, triggers...).WithAuth(keys)
	formula := family.WithReserved(map[string]string{scalerv1.KeyMetricSource: "true"})
	tests := map[string]struct {
		family   *scalertest.Family
		metadata map[string]string // on top of the valid one
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"items":            {want: scalertest.Observation{Value: 3, Active: true}},
		"at the threshold": {metadata: map[string]string{"activationTargetValue": "3"}, want: scalertest.Observation{Value: 3}},
		"nothing matches":  {metadata: map[string]string{"expressionAttributeValues": `{":s":{"S":"done"}}`}},
		"a filter": {metadata: map[string]string{"filterExpression": "kind = :z", "expressionAttributeNames": `{"#s":"state"}`,
			"expressionAttributeValues": `{":s":{"S":"waiting"},":z":{"S":"small"}}`}, want: scalertest.Observation{Value: 2, Active: true}},
		"more than one page":        {metadata: map[string]string{"expressionAttributeValues": `{":s":{"S":"huge"}}`}, want: scalertest.Observation{Value: 6, Active: true}},
		"a formula needs no target": {family: formula, metadata: map[string]string{"targetValue": "-1"}, want: scalertest.Observation{Value: 3, Active: true}},
		"a missing table": {metadata: map[string]string{"tableName": "bills"}, code: codes.NotFound,
			message: "table bills: DynamoDB Query: ResourceNotFoundException"},
		"a wrong expression": {metadata: map[string]string{"keyConditionExpression": "nonsense"}, code: codes.FailedPrecondition,
			message: "table jobs: DynamoDB Query: ValidationException"},
		"no target": {metadata: map[string]string{"targetValue": "-1"}, code: codes.InvalidArgument, message: "targetValue: "},
		"several mistakes": {metadata: map[string]string{"expressionAttributeNames": "[]", "expressionAttributeValues": `{":n":{"N":3}}`}, code: codes.InvalidArgument,
			message: "expressionAttributeNames: is not a JSON object of strings; expressionAttributeValues: :n: type N is not a string that holds a number"},
		"nothing given": {metadata: map[string]string{"tableName": "", "keyConditionExpression": "", "expressionAttributeNames": "", "expressionAttributeValues": "", "targetValue": ""},
			code:    codes.InvalidArgument,
			message: "tableName: is required; keyConditionExpression: is required; expressionAttributeNames: is required; expressionAttributeValues: is required"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := family
			if tt.family != nil {
				f = tt.family
			}
			got, err := f.Observe(t.Context(), "aws-dynamodb", at(m.URL(), valid, tt.metadata))
			checkError(t, "aws-dynamodb", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestAttributeValues(t *testing.T) {
	tests := map[string]struct {
		text    string
		want    map[string]types.AttributeValue
		problem string
	}{
		"text":    {text: `{":a":{"S":"x"}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberS{Value: "x"}}},
		"numbers": {text: `{":a":{"N":"-1.5e3"}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberN{Value: "-1.5e3"}}},
		"truth":   {text: `{":a":{"BOOL":true}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberBOOL{Value: true}}},
		"bytes are taken as they are": {text: `{":a":{"B":"aGk="}}`,
			want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberB{Value: []byte("aGk=")}}},
		"null": {text: `{":a":{"NULL":true}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberNULL{Value: true}}},
		"a list": {text: `{":a":{"L":[{"S":"x"},{"N":"1"}]}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberL{
			Value: []types.AttributeValue{&types.AttributeValueMemberS{Value: "x"}, &types.AttributeValueMemberN{Value: "1"}}}}},
		"a map": {text: `{":a":{"M":{"k":{"S":"x"}}}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberM{
			Value: map[string]types.AttributeValue{"k": &types.AttributeValueMemberS{Value: "x"}}}}},
		"an empty map":         {text: `{":a":{"M":{}}}`, want: map[string]types.AttributeValue{":a": &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{}}}},
		"no map":               {text: `{":a":{"M":null}}`, problem: ":a: type M is not an object of typed values"},
		"no object":            {text: `[1]`, problem: "is not a JSON object"},
		"nothing":              {text: `{}`, problem: "is empty"},
		"no type":              {text: `{":a":"x"}`, problem: `:a: is not an object with exactly one type, such as {"S": "waiting"}`},
		"two types":            {text: `{":a":{"S":"x","N":"1"}}`, problem: `:a: is not an object with exactly one type, such as {"S": "waiting"}`},
		"a set":                {text: `{":a":{"SS":["x"]}}`, problem: `:a: type "SS" is not one of S, N, BOOL, B, L, M, NULL`},
		"a number for a text":  {text: `{":a":{"S":1}}`, problem: ":a: type S is not a string"},
		"null for a text":      {text: `{":a":{"S":null}}`, problem: ":a: type S is not a string"},
		"a number as a number": {text: `{":a":{"N":1}}`, problem: ":a: type N is not a string that holds a number"},
		"a text for a number":  {text: `{":a":{"N":"one"}}`, problem: ":a: type N is not a string that holds a number"},
		"a text for the truth": {text: `{":a":{"BOOL":"true"}}`, problem: ":a: type BOOL is not true or false"},
		"a list of anything":   {text: `{":a":{"L":[{"S":"x"},1]}}`, problem: `:a: element 1 is not an object with exactly one type, such as {"S": "waiting"}`},
		"many values":          {text: `{":a":{"L":[` + strings.Repeat(`{"S":""},`, mostValues-1) + `{"S":""}]}}`, problem: ":a: element 255 is one of more than 256 values, or deeper than 16"},
		"a long list":          {text: `{":a":{"L":[` + strings.Repeat(`1,`, mostValues) + `1]}}`, problem: ":a: has more than 256 elements"},
		"deep values":          {text: `{":a":` + strings.Repeat(`{"M":{"":`, 17) + `{"S":"x"}` + strings.Repeat(`}}`, 17) + `}`, problem: ":a: " + strings.Repeat(": ", 17) + "is one of more than 256 values, or deeper than 16"},
		"a map of anything":    {text: `{":a":{"M":{"k":1}}}`, problem: `:a: k: is not an object with exactly one type, such as {"S": "waiting"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := attributeValues(tt.text)
			if problem := fmt.Sprint(err); err != nil && problem != tt.problem || err == nil && tt.problem != "" {
				t.Fatalf("error = %v, want %q", err, tt.problem)
			}
			if tt.problem == "" && !reflect.DeepEqual(got, tt.want) {
				t.Errorf("values = %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestDynamoDBStreams(t *testing.T) {
	m := servers.SharedMoto(t)
	table(t, m, "streamed", true)
	table(t, m, "silent", false)
	family := scalertest.Serve(t, triggers...).WithAuth(keys)
	tests := map[string]struct {
		metadata map[string]string // on top of table streamed
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"shards":           {want: scalertest.Observation{Value: 1, Active: true}},
		"at the threshold": {metadata: map[string]string{"activationShardCount": "1"}, want: scalertest.Observation{Value: 1}},
		"a table without stream": {metadata: map[string]string{"tableName": "silent"}, code: codes.NotFound,
			message: "table silent: has no stream ARN, turn its stream on"},
		"a missing table": {metadata: map[string]string{"tableName": "missing"}, code: codes.NotFound,
			message: "table missing: DynamoDB DescribeTable: ResourceNotFoundException"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.Observe(t.Context(), "aws-dynamodb-streams", at(m.URL(), map[string]string{"tableName": "streamed"}, tt.metadata))
			checkError(t, "aws-dynamodb-streams", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestDynamoDBStreamsPagesAndNewStreams needs pages and a stream that is
// replaced, which Moto does not have: a handler stands in.
func TestDynamoDBStreamsPagesAndNewStreams(t *testing.T) {
	arn, described := "arn:first", 0
	s := newHandler(t, func(action string, body map[string]any) (int, string) {
		switch {
		case action == "DescribeTable":
			described++
			return http.StatusOK, `{"Table":{"LatestStreamArn":"` + arn + `"}}`
		case body["StreamArn"] != arn:
			return http.StatusBadRequest, `{"__type":"com.amazonaws#ResourceNotFoundException"}`
		case body["ExclusiveStartShardId"] == nil:
			return http.StatusOK, `{"StreamDescription":{"Shards":[{"ShardId":"1"},{"ShardId":"2"}],"LastEvaluatedShardId":"2"}}`
		default:
			return http.StatusOK, `{"StreamDescription":{"Shards":[{"ShardId":"3"}]}}`
		}
	})
	source, err := scalertest.Open(t, openDynamoDBStreams, dynamoDBStreamsParams{awsParams: params(s), TableName: "jobs"})
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"arn:first", "arn:first", "arn:second"} {
		arn = stream
		got, err := source.Read(within(t))
		if err != nil || got[0].Value != 3 {
			t.Errorf("%s: read %v, %v", stream, got, err)
		}
	}
	if described != 2 {
		t.Errorf("the ARN was looked up %d times for two streams", described)
	}
}
