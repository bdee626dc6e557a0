package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestContainerdNamesImagesAsTheManifestsDo imports archives with containerd's
// own tool, as a node without a registry gets them.
func TestContainerdNamesImagesAsTheManifestsDo(t *testing.T) {
	out := t.TempDir()
	if err := run(binaries(t, "amd64/controller", "amd64/scaler-kafka"), names(t, "v1.2.3"), "v1.2.3", out); err != nil {
		t.Fatal(err)
	}
	ctr := startContainerd(t)
	archives, err := filepath.Glob(filepath.Join(out, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		ctr("images", "import", "--no-unpack", archive)
	}
	got := strings.Fields(ctr("images", "list", "--quiet"))
	slices.Sort(got)
	want := []string{"localhost/sluice/controller:v1.2.3", "registry.example/sluice-kafka:v1.2.3"}
	if !slices.Equal(got, want) {
		t.Errorf("images = %q, want %q", got, want)
	}
}

// startContainerd runs containerd in a folder of its own until the test ends,
// and returns what asks it.
func startContainerd(t *testing.T) (ctr func(args ...string) string) {
	t.Helper()
	dir := t.TempDir()
	config, socket := filepath.Join(dir, "config.toml"), filepath.Join(dir, "s")
	// Nothing is run, so that what runs and stores it is left out.
	text := "version = 2\nroot = " + `"` + dir + `/root"` + "\nstate = " + `"` + dir + `/state"` + `
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "` + socket + `"
`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.CommandContext(context.WithoutCancel(t.Context()), "containerd", "--config", config) // until Cleanup
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatalf("%v: make test-servers installs it", err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait() // ended by the signal
		_ = log.Close()
	})
	ask := func(args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "ctr", append([]string{"--address", socket}, args...)...)
	}
	deadline := time.Now().Add(time.Minute)
	for ask("version").Run() != nil {
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("containerd does not answer: %s", said)
		}
	}
	return func(args ...string) string {
		t.Helper()
		return command(t, "ctr", append([]string{"--address", socket}, args...)...)
	}
}

// command runs a program, which must succeed, and returns what it prints.
func command(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}
