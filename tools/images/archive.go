package main

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// archive writes a folder as a tar file, the same bytes for the same files:
// what containerd, kind and k3s import.
func archive(dir, file string) (err error) {
	out, err := os.Create(file) //nolint:gosec // the caller's own folder
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := tar.NewWriter(out)
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // a layer of an image of ours, in memory until now
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: filepath.ToSlash(name), Mode: 0o644, Size: int64(len(content)), ModTime: epoch,
		}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	}); err != nil {
		return err
	}
	return w.Close()
}
