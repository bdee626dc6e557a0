package readable

import (
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

// Read reads a file that is listed, or below a directory that is. Links may lead
// to others of the same directory, as in mounted volumes, and not out of it.
func Read(path string) ([]byte, error) {
	clean := filepath.Clean(path)
	if !filepath.IsAbs(clean) {
		return nil, words.Errorf(codes.InvalidArgument, "file %q: is not an absolute path", path)
	}
	for _, entry := range Files() {
		dir, name, ok := within(filepath.Clean(entry), clean)
		if ok {
			return Below(dir, name)
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

// Below reads a regular file of a directory, by its path in there.
func Below(dir, name string) ([]byte, error) {
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
		return nil, words.Errorf(codes.InvalidArgument, "file %q: is not a regular file", name)
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
		return nil, words.Errorf(codes.InvalidArgument, "file %q: is larger than 1 MiB", name)
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
