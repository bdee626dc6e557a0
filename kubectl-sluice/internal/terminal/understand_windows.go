package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// understand has a terminal take commands.
func understand(out *os.File) (restore func() error, err error) {
	var mode uint32
	handle := windows.Handle(out.Fd())
	if err := windows.GetConsoleMode(handle, &mode); err != nil {
		return nil, err
	}
	return func() error { return windows.SetConsoleMode(handle, mode) },
		windows.SetConsoleMode(handle, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
}
