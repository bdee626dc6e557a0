package trigger

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
	have := Describe("samples", "v1.2.3", []Trigger{
		sample(new(sampleParams), RingsAt("one fetch"), PassesThrough()),
	})
	golden, err := os.ReadFile("testdata/describe.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want scalerv1.DescribeResponse
	if err := protojson.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(have, &want) {
		t.Errorf("described:\n%s", protojson.Format(have))
	}
}
