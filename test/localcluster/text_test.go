package localcluster

import "testing"

func TestComponent(t *testing.T) {
	for image, want := range map[string]string{
		"sluice/controller":                               "controller",
		"registry.invalid:5000/sluice/scaler-kafka:v1":    "scaler-kafka",
		"registry.invalid/sluice/scaler-cron@sha256:0123": "scaler-cron",
	} {
		if got := component(image); got != want {
			t.Errorf("component(%q) = %q, want %q", image, got, want)
		}
	}
}

func TestExpand(t *testing.T) {
	env := &environment{values: map[string]string{"NAME": "kafka"}}
	for text, want := range map[string]string{
		"--family=$(NAME)":  "--family=kafka",
		"$(UNKNOWN)":        "$(UNKNOWN)",
		"$$(NAME)":          "$(NAME)",
		"costs $5 $NAME $(": "costs $5 $NAME $(",
	} {
		if got := expand(text, env); got != want {
			t.Errorf("expand(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestRewriteArg(t *testing.T) {
	deployment := &mappedDeployment{byNumber: map[int32]int32{9090: 40001}}
	for arg, want := range map[string]string{
		"--grpc-address=:9090":        "--grpc-address=:40001",
		"--grpc-address=0.0.0.0:9090": "--grpc-address=0.0.0.0:40001",
		"--secure-port=9090":          "--secure-port=40001",
		"--other=19090":               "--other=19090",
		"--name=9090x":                "--name=9090x",
	} {
		if got := deployment.rewriteArg(arg); got != want {
			t.Errorf("rewriteArg(%q) = %q, want %q", arg, got, want)
		}
	}
}

func TestBuiltName(t *testing.T) {
	for pkg, want := range map[string]string{
		"go.etcd.io/etcd/server/v3":        "server",
		"k8s.io/kubernetes/cmd/kubectl":    "kubectl",
		"example.invalid/cmd/vet":          "vet",
		"k8s.io/kubernetes/cmd/kube-proxy": "kube-proxy",
	} {
		if got := builtName(pkg); got != want {
			t.Errorf("builtName(%q) = %q, want %q", pkg, got, want)
		}
	}
}
