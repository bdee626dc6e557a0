package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// binaries writes <architecture>/<process> files; the content names both.
func binaries(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("binary "+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// names writes a kustomization that gives the processes of the tests a name and
// a tag.
func names(t *testing.T, tag string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kustomization.yaml")
	text := `
images:
- {name: localhost/sluice/controller, newTag: ` + tag + `}
- {name: localhost/sluice/scaler-kafka, newName: registry.example/sluice-kafka, newTag: ` + tag + `}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readIndex reads the one tagged index of a layout back and checks it against
// the OCI rules.
func readIndex(t *testing.T, dir, version string) v1.ImageIndex {
	t.Helper()
	entries, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(entries); err != nil {
		t.Fatal(err)
	}
	manifest, err := entries.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != version {
		t.Fatalf("entries = %+v, want one tagged %s", manifest.Manifests, version)
	}
	index, err := entries.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// content returns the files of an image by path.
func content(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	reader := mutate.Extract(image)
	defer reader.Close()
	files := map[string][]byte{}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			files[header.Name] = data
		}
		if header.Name == "controller" && header.Mode != 0o755 {
			t.Errorf("%s: mode %o is not executable by all", header.Name, header.Mode)
		}
		if !header.ModTime.Equal(epoch) {
			t.Errorf("%s: time %v would change the digest", header.Name, header.ModTime)
		}
	}
}

func TestLayoutHasBothPlatforms(t *testing.T) {
	out := t.TempDir()
	if err := run(binaries(t, "amd64/controller", "arm64/controller", "amd64/scaler-kafka", "arm64/scaler-kafka"), names(t, "v1.2.3"), "v1.2.3", out); err != nil {
		t.Fatal(err)
	}
	index := readIndex(t, filepath.Join(out, "controller"), "v1.2.3")
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 {
		t.Fatalf("%d images, want 2", len(manifest.Manifests))
	}
	for i, architecture := range []string{"amd64", "arm64"} {
		t.Run(architecture, func(t *testing.T) {
			descriptor := manifest.Manifests[i]
			if p := descriptor.Platform; p == nil || p.OS != "linux" || p.Architecture != architecture {
				t.Errorf("platform in the index = %v", p)
			}
			image, err := index.Image(descriptor.Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.OS != "linux" || config.Architecture != architecture {
				t.Errorf("platform = %s/%s", config.OS, config.Architecture)
			}
			if config.Config.User != "65532:65532" {
				t.Errorf("user = %q", config.Config.User)
			}
			if !slices.Equal(config.Config.Entrypoint, []string{"/controller"}) {
				t.Errorf("entrypoint = %q", config.Config.Entrypoint)
			}
			if v := config.Config.Labels["org.opencontainers.image.version"]; v != "v1.2.3" {
				t.Errorf("version label = %q", v)
			}
			files := content(t, image)
			if got, want := string(files["controller"]), "binary "+architecture+"/controller"; got != want {
				t.Errorf("/controller = %q, want %q", got, want)
			}
			if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) {
				t.Error("no certificate authorities")
			}
			if len(files) != 2 {
				t.Errorf("%d files, want the binary and the authorities alone", len(files))
			}
		})
	}
}

func TestSameBinariesGiveTheSameDigest(t *testing.T) {
	dir := binaries(t, "amd64/controller", "arm64/controller")
	var digests []v1.Hash
	var archives [][]byte
	for range 2 {
		out := t.TempDir()
		if err := run(dir, names(t, "v1.2.3"), "v1.2.3", out); err != nil {
			t.Fatal(err)
		}
		digest, err := readIndex(t, filepath.Join(out, "controller"), "v1.2.3").Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest)
		archive, err := os.ReadFile(filepath.Join(out, "controller.tar"))
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, archive)
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %v", digests)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("archives differ")
	}
}

func TestALayoutIsReplaced(t *testing.T) {
	out := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		if err := run(binaries(t, "amd64/controller"), names(t, version), version, out); err != nil {
			t.Fatal(err)
		}
	}
	manifest, err := readIndex(t, filepath.Join(out, "controller"), "v2").IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Errorf("%d images, want the newer one alone", len(manifest.Manifests))
	}
}

func TestMissingBinaries(t *testing.T) {
	tests := map[string]struct {
		binaries []string
		message  string
	}{
		"none at all":          {message: "no binaries in"},
		"one platform misses":  {binaries: []string{"amd64/controller", "amd64/scaler-kafka", "arm64/controller"}, message: "scaler-kafka: no binary for arm64"},
		"not in the manifests": {binaries: []string{"amd64/scaler-new"}, message: "scaler-new: no image of that name in"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := run(binaries(t, tt.binaries...), names(t, "v1"), "v1", t.TempDir())
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error = %v, want %q", err, tt.message)
			}
		})
	}
}

func TestPublicRootsArePEM(t *testing.T) {
	if n := bytes.Count(publicRoots(), []byte("BEGIN CERTIFICATE")); n < 100 {
		t.Errorf("%d roots, want those of Mozilla's program", n)
	}
}
