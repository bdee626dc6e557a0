package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// clients are libraries that a family links which takes credentials.
var clients = regexp.MustCompile(`^(github\.com/(aws|Azure|AzureAD|hashicorp)/|cloud\.google\.com/|.*/scalers/scaler/credentials(/|$))`)

// TestNoClientOfACloudIsLinked: a family that takes no credentials does not
// carry what reads them.
func TestNoClientOfACloudIsLinked(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("%d packages are linked, want those of gRPC at least", len(packages))
	}
	for _, p := range packages {
		if clients.MatchString(p) {
			t.Errorf("%s is linked", p)
		}
	}
}
