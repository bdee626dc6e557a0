package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheChartOfARelease has Helm make an archive of it, for tags that are
// versions and for others, and render it.
func TestTheChartOfARelease(t *testing.T) {
	helm, err := filepath.Abs("../../bin/tools/helm")
	if err != nil {
		t.Fatal(err)
	}
	for tag, version := range map[string]string{"v1.2.3": "1.2.3", "4f_dirty": "0.0.0-x-4f-dirty"} {
		t.Run(tag, func(t *testing.T) {
			r := release{repository: "../..", registry: "ghcr.io/you", tag: tag, out: t.TempDir()}
			images, err := r.images()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.chart(images); err != nil {
				t.Fatal(err)
			}
			run := func(args ...string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), helm, args...) //nolint:gosec // a program of this repository
				cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+r.out, "HELM_CONFIG_HOME="+r.out, "HELM_DATA_HOME="+r.out)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("helm %s: %v\n%s", args, err, out)
				}
				return string(out)
			}
			run("package", filepath.Join(r.out, "chart", "sluice"), "--destination", r.out)
			text := run("template", "sluice", filepath.Join(r.out, "sluice-"+version+".tgz"))
			if !strings.Contains(text, "image: ghcr.io/you/scaler-kafka:"+tag+"\n") || strings.Contains(text, "image: localhost/") {
				t.Error("the chart has other images")
			}
		})
	}
}
