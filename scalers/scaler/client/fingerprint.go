package client

import "github.com/sluice-autoscaler/sluice/scalers/scaler/internal/fingerprint"

// Fingerprint is a short hash of secrets, fit for keys of Shared. It cannot be
// turned back and differs between processes.
func Fingerprint(secrets ...string) string { return fingerprint.Of(secrets...) }
