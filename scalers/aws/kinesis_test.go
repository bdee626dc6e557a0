package main

import (
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = contract("aws-kinesis-stream", kind{
	make:     func(t testing.TB, m *servers.MotoServer, name string) { stream(t, m, name, 3) },
	metadata: func(name string) map[string]string { return map[string]string{"streamName": name} },
	value:    3,
	what:     "stream NAME: Kinesis DescribeStreamSummary: ",
	lacking:  "stream NAME: the answer lacks the number of open shards",
})

func stream(t testing.TB, m *servers.MotoServer, name string, shards int32) {
	t.Helper()
	client := kinesis.NewFromConfig(owner(m))
	if _, err := client.CreateStream(within(t), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(shards)}); err != nil {
		t.Fatal(err)
	}
}

func TestKinesisStream(t *testing.T) {
	m := servers.SharedMoto(t)
	stream(t, m, "clicks", 3)
	family := scalertest.Serve(t, triggers...).WithAuth(keys)
	tests := map[string]struct {
		metadata map[string]string // on top of stream clicks
		answer   string            // of a stand-in, for what no server says
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"open shards":      {want: scalertest.Observation{Value: 3, Active: true}},
		"at the threshold": {metadata: map[string]string{"activationShardCount": "3"}, want: scalertest.Observation{Value: 3}},
		"a missing stream": {metadata: map[string]string{"streamName": "views"}, code: codes.NotFound,
			message: "stream views: Kinesis DescribeStreamSummary: ResourceNotFoundException"},
		"no summary":         {answer: `{}`, code: codes.Unavailable, message: "stream clicks: the answer lacks the number of open shards"},
		"a target of 0":      {metadata: map[string]string{"shardCount": "0"}, code: codes.InvalidArgument, message: "shardCount: target 0 is not greater than 0"},
		"no stream":          {metadata: map[string]string{"streamName": ""}, code: codes.InvalidArgument, message: "streamName: is required (looked in metadata)"},
		"not a whole number": {metadata: map[string]string{"shardCount": "2.0"}, code: codes.InvalidArgument, message: `shardCount: "2.0" is not an integer`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			address := m.URL()
			if tt.answer != "" {
				address = answering(t, http.StatusOK, tt.answer, false)
			}
			metadata := at(address, map[string]string{"streamName": "clicks"}, tt.metadata)
			got, err := family.Observe(t.Context(), "aws-kinesis-stream", metadata)
			checkError(t, "aws-kinesis-stream", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}
