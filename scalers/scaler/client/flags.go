package client

import (
	"flag"

	"github.com/sluice-autoscaler/sluice/outbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"
)

// Flags adds the flags on how event sources are reached, on what they may send,
// and on which files of the process a parameter may name.
func Flags(flags *flag.FlagSet) {
	guardFlags(flags)
	var dirs []string
	flags.Func("ca-dir", "a folder of PEM certificate authorities to trust beside the system's; may be repeated (default /custom/ca)",
		func(dir string) error {
			dirs = append(dirs, dir)
			setCADirs(dirs)
			return nil
		})
	var files []string
	flags.Func("readable-files", "a file, or a directory of files, that a parameter may name; may be repeated",
		func(path string) error {
			files = append(files, path)
			readable.Set(files)
			return nil
		})
	outbound.Flag(flags, "allow-source-address", "an address or network that may be an event source although it is the machine's own, link-local, multicast or a cloud's metadata service; may be repeated")
}

// CheckEnvironment refuses an environment that would fail every read, so that the
// process says so once, when it starts.
func CheckEnvironment(getenv func(string) string) error {
	if _, err := processTLS(getenv); err != nil {
		return err
	}
	_, err := processHTTP(getenv)
	return err
}
