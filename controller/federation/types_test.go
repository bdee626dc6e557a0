package federation

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

func TestATypeWithoutAServiceIsToldFromOneThatNobodyHas(t *testing.T) {
	tests := map[string]string{
		"mysql":      "Service scaler-mysql not found in namespace home: family sql, which serves the type, is not installed: add deploy/scalers/sql to your kustomization",
		"solr":       "Service scaler-solr not found in namespace home: no family of this version serves the type",
		"ledger":     "Service scaler-ledger not found in namespace home: no family is known to serve the type",
		"kafak":      "type: unknown, did you mean kafka? (Service scaler-kafak not found in namespace home)",
		"house-queu": "type: unknown, did you mean house-queue? (Service scaler-house-queu not found in namespace home)",
		"sqs":        "type: unknown, did you mean aws-sqs-queue? (Service scaler-sqs not found in namespace home)",
		"servicebus": "type: unknown, did you mean azure-servicebus? (Service scaler-servicebus not found in namespace home)",
		"streams":    "type: unknown, did you mean redis-streams or aws-dynamodb-streams or redis-cluster-streams? (Service scaler-streams not found in namespace home)",
		"kafka-lag":  "type: unknown, did you mean kafka? (Service scaler-kafka-lag not found in namespace home)",
	}
	for given, want := range tests {
		if err := Absent(given, "home", []string{"house-queue"}); err.Error() != want {
			t.Errorf("%s: %v\nwant %s", given, err, want)
		}
	}
	for given, want := range map[string]string{
		"cpu/memory": `type: unknown, did you mean cpu or memory? (trigger type "cpu/memory" cannot be a Service name, use type: external)`,
		"Kafka":      `type: unknown, did you mean kafka? (trigger type "Kafka" cannot be a Service name, use type: external)`,
		"My_Type":    `trigger type "My_Type" cannot be a Service name, use type: external`,
	} {
		if err := CheckType(given); err.Error() != want {
			t.Errorf("%s: %v\nwant %s", given, err, want)
		}
	}
}

// TestFamiliesAreThoseThatAreDeployed holds what the messages say against the
// Services in deploy/scalers.
func TestFamiliesAreThoseThatAreDeployed(t *testing.T) {
	files, err := filepath.Glob("../../deploy/scalers/*/services.yaml")
	if err != nil || len(files) != len(families) {
		t.Fatalf("%d folders, %d families, %v", len(files), len(families), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var deployed []string
		for _, m := range regexp.MustCompile(`(?m)^  name: scaler-(\S+)$`).FindAllSubmatch(text, -1) {
			deployed = append(deployed, string(m[1]))
		}
		family := filepath.Base(filepath.Dir(file))
		known := slices.Sorted(slices.Values(families[family]))
		if slices.Sort(deployed); !slices.Equal(known, deployed) {
			t.Errorf("%s: known for %v, deployed with %v", family, known, deployed)
		}
	}
}
