package scaler

import (
	"os"
	"testing"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// ParamDocs is what cmd/docgen would write.
func (loginParams) ParamDocs() map[string]string {
	return map[string]string{"Username": "Logs in."}
}

func (sampleParams) ParamDocs() map[string]string {
	return map[string]string{"sample": "Scales on a sample.", "Servers": "The brokers.", "Length": "Messages per replica."}
}

func TestDescribe(t *testing.T) {
	got, err := describeJSON("samples", "v1.2.3", []Trigger{
		sample(new(sampleParams), RingsAt("one fetch"), PassesThrough()),
	})
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/describe.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	// Compared as messages: protojson varies its white space on purpose.
	var have, want scalerv1.DescribeResponse
	if err := protojson.Unmarshal(got, &have); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&have, &want) {
		t.Errorf("described:\n%s", got)
	}
}
