package scalertest

import (
	"testing"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/readable"
)

// Readable lists files, and directories of files, that parameters may name
// until the test ends, as --readable-files does.
func Readable(t testing.TB, files ...string) {
	t.Helper()
	before := readable.Files()
	readable.Set(files)
	t.Cleanup(func() { readable.Set(before) })
}
