package scaler

import (
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/cluster"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/serving"
)

// Config is what a Server is made of. Only Family and Triggers are needed.
type Config = serving.Config

// Server is a family in memory: what Serve runs, without flags. It is for test
// kits.
type Server = serving.Server

// New makes a family that serves nothing yet.
func New(cfg Config) *Server { return serving.New(cfg) }

// ClusterConfig is how the API server is reached: as the Pod's ServiceAccount, or
// else as KUBECONFIG says.
func ClusterConfig() (*rest.Config, error) { return cluster.Config() }
