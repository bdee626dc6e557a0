package credentials

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// maxFile bounds a file that a parameter names, in bytes.
const maxFile = 1 << 20

// CheckFile is nil when a parameter may name the file: it is listed, or below
// a directory that is, and readable.
func CheckFile(listed []string, path string) error {
	_, err := ReadFile(listed, path)
	return err
}

// ReadFile reads a file that is listed, or below a directory that is. Links
// may lead to others of the same directory, as in mounted volumes, and not out
// of it.
func ReadFile(listed []string, path string) ([]byte, error) {
	clean := filepath.Clean(path)
	if !filepath.IsAbs(clean) {
		return nil, invalid("file %q: is not an absolute path", path)
	}
	for _, entry := range listed {
		dir, name, ok := within(filepath.Clean(entry), clean)
		if ok {
			return readBelow(dir, name)
		}
	}
	return nil, words.Errorf(codes.PermissionDenied, "file %q: the family's --readable-files does not list it", path)
}

// within splits a path at the directory of the listed entry that has it.
func within(entry, path string) (dir, name string, ok bool) {
	if path == entry {
		return filepath.Dir(path), filepath.Base(path), true
	}
	name, ok = strings.CutPrefix(path, strings.TrimSuffix(entry, "/")+"/")
	return entry, name, ok
}

// readBelow reads a regular file of a directory.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer root.Close()
	// What is no regular file may wait for ever when it is opened.
	info, err := root.Stat(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, invalid("file %q: is not a regular file", name)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fileError(name, err)
	}
	if len(content) > maxFile {
		return nil, invalid("file %q: is larger than 1 MiB", name)
	}
	return content, nil
}

func fileError(name string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	code := codes.InvalidArgument // a link that leads out, for one
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = codes.NotFound
	case errors.Is(err, fs.ErrPermission):
		code = codes.PermissionDenied
	}
	return words.Errorf(code, "file %q: %v", name, err)
}

// filePath takes all parameters from a JSON file below the root directory that
// the installation chose.
func (w *work) filePath(path string) error {
	switch {
	case !w.cluster:
		return invalid("is for ClusterTriggerAuthentications alone")
	case w.FilePathRoot == "":
		return words.Errorf(codes.FailedPrecondition, "the family is not started with --filepath-auth-root-path")
	case !filepath.IsLocal(path):
		return invalid("%q is not a path below the root directory", path)
	}
	content, err := readBelow(w.FilePathRoot, path)
	if err != nil {
		return err
	}
	var parameters map[string]string
	if json.Unmarshal(content, &parameters) != nil {
		return invalid("file %q: is not a JSON object of texts", path)
	}
	w.creds.Parameters = parameters
	return nil
}
