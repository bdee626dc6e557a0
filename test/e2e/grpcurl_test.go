package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/test/localcluster"
)

// answers are what the commands of the README must print, by the call that
// they make.
var answers = map[string]string{
	"list":                          "sluice.scaler.v1.ScalerService",
	"describe":                      "StreamMetricSpec",
	"grpc.health.v1.Health/Check":   `"SERVING"`,
	"ScalerService/Describe":        `"desiredReplicas"`,
	"ExternalScaler/GetMetricSpec":  `"cron-UTC-00xxx-5923xxx"`,
	"ExternalScaler/IsActive":       `"result": true`,
	"ExternalScaler/GetMetrics":     `"metricValueFloat": 3`,
	"ExternalScaler/StreamIsActive": `"result": true`,
	// A family whose metrics do not change says so.
	"ExternalScaler/StreamMetricSpec": "Unimplemented",
	"ScalerService/Watch":             `"observation"`,
}

// TestREADMEGrpcurl runs the commands that the README shows, as they stand
// there, against a running family.
func TestREADMEGrpcurl(t *testing.T) {
	t.Parallel()
	repo, err := localcluster.FindRepo(".")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(repo, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	family := world.cluster.Instances("scaler-cron")
	if len(family) == 0 {
		t.Fatal("scaler-cron does not run")
	}
	address, stop, err := family[0].PortForward(t.Context(), "loopback")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	ref, commands := grpcurlCommands(t, string(readme))
	seen := map[string]bool{}
	for _, command := range commands {
		call := callOf(command)
		t.Run(call, func(t *testing.T) {
			want, known := answers[call]
			if !known {
				t.Fatalf("no answer is known for %q", command)
			}
			seen[call] = true
			script := ref + "\n" + strings.ReplaceAll(command, "localhost:9090", address)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(repo, "bin/tools")+":"+os.Getenv("PATH"))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			// Streams end by their time limit, which grpcurl calls a failure.
			if err := cmd.Run(); err != nil && !strings.Contains(command, "-max-time") {
				t.Fatalf("%v: %s", err, out.Bytes())
			}
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s\nprinted: %s\nwant: %s", command, out.Bytes(), want)
			}
		})
	}
	for call := range answers {
		if !seen[call] {
			t.Errorf("the README does not show %s", call)
		}
	}
}

var assignment = regexp.MustCompile(`(?m)^REF=.*$`)

// grpcurlCommands returns the line that sets REF and the lines with grpcurl.
func grpcurlCommands(t *testing.T, readme string) (ref string, commands []string) {
	t.Helper()
	for _, line := range strings.Split(readme, "\n") {
		if strings.HasPrefix(line, "grpcurl ") || strings.HasPrefix(line, "echo ") {
			commands = append(commands, line)
		}
	}
	ref = assignment.FindString(readme)
	if ref == "" || len(commands) == 0 {
		t.Fatal("the README shows no grpcurl commands")
	}
	return ref, commands
}

// callOf is the last word of a command, shortened to service and method.
func callOf(command string) string {
	fields := strings.Fields(command)
	last := fields[len(fields)-1]
	if strings.Contains(command, " describe ") {
		return "describe"
	}
	if cut := strings.LastIndex(last, "."); strings.Contains(last, "/") && !strings.HasPrefix(last, "grpc.") {
		return last[cut+1:]
	}
	return last
}
