package manager

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"time"

	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/internal/metrics"
)

// Minor versions of Kubernetes that the controller is meant for: that of its
// libraries and three before.
const (
	oldestMinor = 34
	newestMinor = 37
)

// banner tells once at the start what runs, and where.
type banner struct {
	api     rest.Interface
	version string
	log     *slog.Logger
}

// Version is what --version prints.
func Version(version string) string {
	return fmt.Sprintf("controller %s, commit %s, %s, %s/%s, for Kubernetes 1.%d to 1.%d",
		version, cmp.Or(metrics.Commit, "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH, oldestMinor, newestMinor)
}

// Start implements manager.Runnable. An API server that does not answer is
// somebody else's news.
func (b banner) Start(ctx context.Context) error {
	b.log.Info("this is Sluice", "version", b.version, "commit", metrics.Commit,
		"go", runtime.Version(), "platform", runtime.GOOS+"/"+runtime.GOARCH)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	kubernetes, err := b.kubernetes(ctx)
	if err != nil {
		b.log.Info("the version of Kubernetes is not known", "error", err)
		return nil
	}
	b.log.Info("Kubernetes", "version", kubernetes.GitVersion)
	minor, err := strconv.Atoi(strings.TrimRight(kubernetes.Minor, "+"))
	if err != nil || kubernetes.Major != "1" || minor < oldestMinor || minor > newestMinor {
		b.log.Warn("this version of Kubernetes is not one that Sluice is meant for",
			"version", kubernetes.GitVersion, "meant for", fmt.Sprintf("1.%d to 1.%d", oldestMinor, newestMinor))
	}
	return nil
}

// NeedLeaderElection tells controller-runtime that a standby says so, too.
func (b banner) NeedLeaderElection() bool { return false }

func (b banner) kubernetes(ctx context.Context) (apiversion.Info, error) {
	var info apiversion.Info
	answer, err := b.api.Get().AbsPath("/version").DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(answer, &info)
	}
	return info, err
}
