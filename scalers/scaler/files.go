package scaler

import "github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"

// CheckFile is nil when a parameter may name the file, as --readable-files
// says. Clients that read files by themselves, such as the certificates that a
// connection string names, are asked for nothing else.
func CheckFile(path string) error {
	_, err := readable.Read(path)
	return err
}

// ReadFile reads a file that a parameter names, as far as --readable-files
// lists it.
func ReadFile(path string) ([]byte, error) { return readable.Read(path) }
