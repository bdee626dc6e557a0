package objects

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// What may be read from files: far more than any repository has, and less than
// a workstation.
const (
	mostOfFile = 16 << 20
	mostOfAll  = 256 << 20
	mostFiles  = 20_000
)

// Files reads manifests: files, all of folders, and stdin for "-". An object
// without a namespace is in the given one. What is in a file and makes no sense
// is in Unread; an error is about what was asked for.
func Files(paths []string, stdin io.Reader, namespace string) (*Set, error) {
	r := reading{set: New(), namespace: namespace}
	for _, path := range paths {
		if path == "-" {
			if err := r.read("standard input", stdin); err != nil {
				return nil, err
			}
			continue
		}
		if err := r.walk(path); err != nil {
			return nil, err
		}
	}
	r.set.sort()
	return r.set, nil
}

// reading is what has been read so far.
type reading struct {
	set          *Set
	namespace    string
	files, bytes int
}

// walk reads a file, or the manifests in a folder and in the folders in it. Links
// in a folder are not followed.
func (r *reading) walk(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return r.open(path)
	}
	return filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.Type().IsRegular() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			return nil
		}
		return r.open(path)
	})
}

func (r *reading) open(path string) error {
	if r.files++; r.files > mostFiles {
		return fmt.Errorf("%s: more than %d files; check fewer at once", path, mostFiles)
	}
	file, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	defer file.Close()
	return r.read(path, file)
}

// read takes in the objects of one file.
func (r *reading) read(path string, from io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(from, mostOfFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(text) > mostOfFile {
		return fmt.Errorf("%s: has more than %d MiB", path, mostOfFile>>20)
	}
	if r.bytes += len(text); r.bytes > mostOfAll {
		return fmt.Errorf("%s: all files have more than %d MiB; check fewer at once", path, mostOfAll>>20)
	}
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(trimmed) {
		return r.set.add(trimmed, Source{document: &document{file: path, first: 1, text: text}}, r.namespace, 0)
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	line := 1
	for number := 1; ; number++ {
		part, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		where := Source{document: &document{file: path, number: number, first: line, text: part}}
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		line += bytes.Count(part, []byte("\n")) + 1 // and what stands between two
		object, err := toJSON(part)
		if err != nil {
			r.set.unread(Key{}, where, err)
			continue
		}
		if object == nil {
			continue
		}
		if err := r.set.add(object, where, r.namespace, 0); err != nil {
			return err
		}
	}
}
