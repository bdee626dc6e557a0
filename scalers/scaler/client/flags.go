package client

import "flag"

// Flags adds the flags on how event sources are reached, and on what they
// may send.
func Flags(flags *flag.FlagSet) {
	guardFlags(flags)
	var dirs []string
	flags.Func("ca-dir", "a folder of PEM certificate authorities to trust beside the system's; may be repeated (default /custom/ca)",
		func(dir string) error {
			dirs = append(dirs, dir)
			setCADirs(dirs)
			return nil
		})
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
