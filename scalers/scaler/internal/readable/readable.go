// Package readable keeps which files the parameters of the process's triggers
// may name.
package readable

import "sync/atomic"

var files atomic.Pointer[[]string]

// Set lists files, and directories of files.
func Set(all []string) { files.Store(&all) }

// Files are those listed, none at first.
func Files() []string {
	if all := files.Load(); all != nil {
		return *all
	}
	return nil
}
