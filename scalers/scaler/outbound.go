package scaler

import (
	"flag"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/credentials"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"
)

// CheckFile is nil when a parameter may name the file, as --readable-files
// says. Clients that read files by themselves, such as the certificates that a
// connection string names, are asked for nothing else.
func CheckFile(path string) error { return credentials.CheckFile(readable.Files(), path) }

// ReadFile reads a file that a parameter names, as far as --readable-files
// lists it.
func ReadFile(path string) ([]byte, error) { return credentials.ReadFile(readable.Files(), path) }

// outboundFlags adds the flags on how event sources are reached.
func outboundFlags(flags *flag.FlagSet) {
	var dirs []string
	flags.Func("ca-dir", "a folder of PEM certificate authorities to trust beside the system's; may be repeated (default /custom/ca)",
		func(dir string) error {
			dirs = append(dirs, dir)
			setCADirs(dirs)
			return nil
		})
}

// checkOutbound refuses an environment that would fail every read, so that the
// process says so once, when it starts.
func checkOutbound(getenv func(string) string) error {
	if _, err := processTLS(getenv); err != nil {
		return err
	}
	_, err := processHTTP(getenv)
	return err
}
