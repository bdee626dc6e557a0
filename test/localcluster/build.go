package localcluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// programs are binaries that are built together, from module test/cluster.
type programs struct {
	what     string
	folder   string            // below bin/
	packages map[string]string // by the binary's name
}

var controlPlane = programs{what: "the control plane", folder: "cluster", packages: map[string]string{
	"etcd":                    "go.etcd.io/etcd/server/v3",
	"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
	"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
	"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
	"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
	"kwok":                    "sigs.k8s.io/kwok/cmd/kwok",
}}

// nodePrograms are apart, since few need them.
var nodePrograms = programs{what: "a node's programs", folder: "node", packages: map[string]string{
	"kubelet":    "k8s.io/kubernetes/cmd/kubelet",
	"kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
}}

// progressEvery is how often a long build says that it is alive.
const progressEvery = 15 * time.Second

// Build makes the control plane's binaries in <repo>/bin/cluster, from the
// versions pinned in test/cluster/go.mod. It returns at once when they are up
// to date. The first build on a machine takes up to ten minutes, and progress
// says so; two builds at once wait for each other.
func Build(ctx context.Context, repo string, progress io.Writer) error {
	return controlPlane.build(ctx, repo, progress)
}

// BuildNode makes kubelet and kube-proxy in <repo>/bin/node, as Build does.
func BuildNode(ctx context.Context, repo string, progress io.Writer) error {
	return nodePrograms.build(ctx, repo, progress)
}

func (p programs) build(ctx context.Context, repo string, progress io.Writer) error {
	out := filepath.Join(repo, "bin", p.folder)
	stamp, err := buildStamp(ctx, repo)
	if err != nil {
		return err
	}
	if p.upToDate(out, stamp) {
		return nil
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	unlock, err := lockFile(filepath.Join(out, ".lock"))
	if err != nil {
		return fmt.Errorf("lock %s: %w", out, err)
	}
	defer unlock()
	if p.upToDate(out, stamp) { // by whoever had the lock before
		return nil
	}
	if err := p.compile(ctx, repo, out, progress); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, ".stamp"), []byte(stamp), 0o644)
}

// buildStamp names what the binaries are made from: versions and toolchain.
func buildStamp(ctx context.Context, repo string) (string, error) {
	hash := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(repo, "test", "cluster", name))
		if err != nil {
			return "", err
		}
		hash.Write(content)
	}
	version, err := goCommand(ctx, repo, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	hash.Write(version)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func (p programs) upToDate(out, stamp string) bool {
	last, err := os.ReadFile(filepath.Join(out, ".stamp"))
	if err != nil || string(last) != stamp {
		return false
	}
	for name := range p.packages {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			return false
		}
	}
	return true
}

// compile runs one `go build` for all binaries, so that what they
// share is compiled once and both compiling and linking use every core.
func (p programs) compile(ctx context.Context, repo, out string, progress io.Writer) error {
	fmt.Fprintf(progress, "building %s from Go modules; the first time takes up to ten minutes on two cores\n", p.what)
	kubernetes, err := goCommand(ctx, repo, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return fmt.Errorf("version of k8s.io/kubernetes: %w", err)
	}
	staging, err := os.MkdirTemp(out, ".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)

	args := []string{"build", "-trimpath", "-v", "-ldflags", versionFlags(strings.TrimSpace(string(kubernetes))), "-o", staging + "/"}
	for _, pkg := range p.packages {
		args = append(args, pkg)
	}
	if err := runShowingProgress(ctx, goCommand(ctx, repo, args...), progress); err != nil {
		return fmt.Errorf("build %s: %w", p.what, err)
	}
	for name, pkg := range p.packages {
		if err := os.Rename(filepath.Join(staging, builtName(pkg)), filepath.Join(out, name)); err != nil {
			return err
		}
	}
	return nil
}

// goCommand is the go command in module test/cluster, with the flags that all
// of this repository's shipped binaries share, so that the build cache is too.
func goCommand(ctx context.Context, repo string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(repo, "test", "cluster")
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	return cmd
}

// versionFlags strips the binaries and tells them their version, without which
// clients of the API server would see v0.0.0.
func versionFlags(version string) string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	const pkg = "k8s.io/component-base/version"
	return fmt.Sprintf("-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
		pkg, version, major, minor)
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// builtName is the file that `go build` makes of a package: its last element
// that is not a major version.
func builtName(pkg string) string {
	name := path.Base(pkg)
	if majorVersion.MatchString(name) {
		return path.Base(path.Dir(pkg))
	}
	return name
}

// runShowingProgress runs a `go build -v`, counting the packages it compiles.
func runShowingProgress(ctx context.Context, cmd *exec.Cmd, progress io.Writer) error {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(stderr)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	var packages int
	var messages bytes.Buffer
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for open := true; open; {
		select {
		case line, more := <-lines:
			if open = more; !more {
				break
			}
			packages++
			if strings.ContainsAny(line, " :") { // a package path has neither
				messages.WriteString(line + "\n")
			}
		case <-tick.C:
			fmt.Fprintf(progress, "  %s: %d packages compiled\n", time.Since(began).Round(time.Second), packages)
		}
	}
	if err := cmd.Wait(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("%w\n%s", err, messages.String()))
	}
	fmt.Fprintf(progress, "  built in %s\n", time.Since(began).Round(time.Second))
	return nil
}
