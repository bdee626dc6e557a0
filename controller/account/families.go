package account

import (
	"time"

	"github.com/sluice-autoscaler/sluice/controller/federation"
)

// FamiliesPath is where a controller serves Families as JSON, whether or not it
// leads, at its metrics port and for kubectl port-forward alone.
const FamiliesPath = "/families"

// Families is what a controller knows of the families of its installation.
type Families struct {
	Now time.Time `json:"now"`
	// Version is the controller's.
	Version string `json:"version"`
	// Types are those that have a Service.
	Types []federation.Surveyed `json:"types"`
}
