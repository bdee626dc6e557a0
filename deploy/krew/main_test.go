package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

var platforms = []string{"darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64", "windows-amd64", "windows-arm64"}

// packed packs binaries that stand in for those of make plugins, which differ in
// when they were written, and returns all files.
func packed(t *testing.T, written time.Time) map[string][]byte {
	t.Helper()
	dir, out := t.TempDir(), t.TempDir()
	for _, name := range platforms {
		file := filepath.Join(dir, name, program)
		if strings.HasPrefix(name, "windows") {
			file += ".exe"
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("program of "+name), 0o600), os.Chtimes(file, written, written)); err != nil {
			t.Fatal(err)
		}
	}
	p := packing{
		binaries: dir, license: "../../LICENSE", version: "v1.2.3", download: "https://example.com/v1.2.3/", out: out,
		platform: func(file string) (string, error) { return filepath.Base(filepath.Dir(file)), nil },
	}
	if err := p.pack(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	names, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range names {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(out, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// TestArchivesAndManifest: each platform has an archive, whose sum, files and
// program are those of the manifest, by whose selectors krew chooses it.
func TestArchivesAndManifest(t *testing.T) {
	files := packed(t, time.Unix(1e9, 0))
	var m manifest
	if err := yaml.UnmarshalStrict(files["sluice.yaml"], &m); err != nil {
		t.Fatal(err)
	}
	if m.Kind != "Plugin" || m.Metadata["name"] != "sluice" || m.Spec.Version != "v1.2.3" || len(m.Spec.ShortDescription) > 50 {
		t.Errorf("%+v", m)
	}
	license, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, p := range m.Spec.Platforms {
		name := p.Selector.MatchLabels["os"] + "-" + p.Selector.MatchLabels["arch"]
		seen = append(seen, name)
		archive := path.Base(p.URI)
		sum := sha256.Sum256(files[archive])
		if p.URI != "https://example.com/v1.2.3/"+archive || p.Sha256 != hex.EncodeToString(sum[:]) || string(files[archive+".sha256"]) != p.Sha256+"  "+archive+"\n" {
			t.Errorf("%s: %+v", name, p)
		}
		has := unpack(t, archive, files[archive])
		if string(has[p.Bin]) != "program of "+name || !bytes.Equal(has["LICENSE"], license) || len(has) != 2 {
			t.Errorf("%s has %v", archive, slices.Sorted(maps.Keys(has)))
		}
		for _, f := range p.Files {
			if has[f.From] == nil || f.To != "." {
				t.Errorf("%s: takes %+v", name, f)
			}
		}
		if windows := strings.HasPrefix(name, "windows"); windows != strings.HasSuffix(archive, ".zip") || windows != strings.HasSuffix(p.Bin, ".exe") {
			t.Errorf("%s: %s in %s", name, p.Bin, archive)
		}
	}
	if !slices.Equal(seen, platforms) || len(files) != 2*len(platforms)+1 {
		t.Errorf("platforms %v, files %v", seen, slices.Sorted(maps.Keys(files)))
	}
}

// TestTheSameBytes: what is packed another day is the same.
func TestTheSameBytes(t *testing.T) {
	one, two := packed(t, time.Unix(1e9, 0)), packed(t, time.Unix(1.5e9, 0))
	for name := range one {
		if !bytes.Equal(one[name], two[name]) {
			t.Errorf("%s differs", name)
		}
	}
}

// unpack returns the files of an archive, of which the program may be run.
func unpack(t *testing.T, name string, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	take := func(name string, mode os.FileMode, from io.Reader) {
		text, err := io.ReadAll(from)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]os.FileMode{true: 0o644, false: 0o755}[name == "LICENSE"]; mode.Perm() != want {
			t.Errorf("%s has mode %v", name, mode)
		}
		files[name] = text
	}
	if strings.HasSuffix(name, ".zip") {
		r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.File {
			from, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			take(f.Name, f.Mode(), from)
		}
		return files
	}
	compressed, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(compressed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		take(h.Name, h.FileInfo().Mode(), r)
	}
}

// TestWhatIsNotPacked: a binary of another platform, what is no program, and
// nothing at all.
func TestWhatIsNotPacked(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		folder string
		text   []byte
		want   string
	}{
		"another platform": {"plan9-amd64", text, "was built for " + runtime.GOOS + "-" + runtime.GOARCH},
		"no program":       {"linux-amd64", []byte("#!/bin/sh"), "unrecognized file format"},
		"no folder":        {"linux", text, "make plugins builds them"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
			file := filepath.Join(dir, tt.folder, program)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, tt.text, 0o600)); err != nil {
				t.Fatal(err)
			}
			p := packing{binaries: dir, license: "../../LICENSE", version: "v1", download: "https://example.com", out: out, platform: platformOf}
			err := p.pack()
			// With the race detector this test is no static program.
			if err == nil || !strings.Contains(err.Error(), tt.want) && !strings.Contains(err.Error(), "is not static") {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	for of, want := range map[string]string{"v1.2.3": "v1.2.3", "v1.2.3-rc.1": "v1.2.3-rc.1", "59e4fe2-dirty": "v0.0.0-x-59e4fe2-dirty", "1.2": "v0.0.0-x-1-2"} {
		if have := semantic(of); have != want {
			t.Errorf("%s is %s, want %s", of, have, want)
		}
	}
}
