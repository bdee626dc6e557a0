package client

import (
	"crypto/tls"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/keycost"
)

// BoundServers has config refuse servers whose certificates would take much
// memory for as long as there is a connection. Configurations of TLSParams do; it
// is for those that a driver makes of a connection string.
func BoundServers(config *tls.Config) { keycost.BoundServers(config) }
