// Command krew packs the plugin of kubectl as its plugin manager wants it: an
// archive with the binary and the licence for each platform, a checksum beside
// it, and the manifest that names them all. The same binaries are the same bytes.
//
//	krew -binaries bin/plugin -license LICENSE -version v1.2.3 -download https://example/v1.2.3 -out dist/plugin
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	program = "kubectl-sluice"
	plugin  = "sluice"
)

func main() {
	p := packing{platform: platformOf}
	flag.StringVar(&p.binaries, "binaries", "", "the folder with the binaries, as <os>-<architecture>/"+program)
	flag.StringVar(&p.license, "license", "LICENSE", "the licence, which each archive has")
	flag.StringVar(&p.version, "version", "", "the version of the release")
	flag.StringVar(&p.download, "download", "", "where the archives can be had, without their names")
	flag.StringVar(&p.out, "out", "", "the folder that receives archives and manifest")
	flag.Parse()
	if err := p.pack(); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

type packing struct {
	binaries, license, version, download, out string
	// platform is what a binary was built for.
	platform func(file string) (string, error)
}

// manifest is krew's.
type manifest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       spec              `json:"spec"`
}

type spec struct {
	Version          string     `json:"version"`
	Homepage         string     `json:"homepage"`
	ShortDescription string     `json:"shortDescription"`
	Description      string     `json:"description"`
	Platforms        []platform `json:"platforms"`
}

type platform struct {
	Selector selector `json:"selector"`
	URI      string   `json:"uri"`
	Sha256   string   `json:"sha256"`
	Bin      string   `json:"bin"`
	Files    []copied `json:"files"`
}

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type copied struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// file is one of an archive.
type file struct {
	name string
	mode os.FileMode
	text []byte
}

const description = `Says what becomes of KEDA's ScaledObjects, ScaledJobs and authentications
under Sluice (migrate check), compares what both decide (compare), and removes
Sluice while every object and every replica stays (uninstall).
`

func (p packing) pack() error {
	if p.binaries == "" || p.out == "" || p.download == "" || p.version == "" {
		return errors.New("-binaries, -version, -download and -out are needed")
	}
	license, err := os.ReadFile(p.license)
	if err != nil {
		return err
	}
	folders, err := filepath.Glob(filepath.Join(p.binaries, "*-*", program+"*"))
	if err != nil {
		return err
	}
	if len(folders) == 0 {
		return fmt.Errorf("%s has no <os>-<architecture>/%s: make plugins builds them", p.binaries, program)
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil { //nolint:gosec // a release is for everybody
		return err
	}
	slices.Sort(folders)
	m := manifest{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: map[string]string{"name": plugin},
		Spec: spec{
			Version: semantic(p.version), Homepage: "https://github.com/sluice-autoscaler/sluice",
			ShortDescription: "Come from KEDA to Sluice, and look after it", Description: description,
		},
	}
	for _, binary := range folders {
		one, err := p.archive(binary, license)
		if err != nil {
			return fmt.Errorf("%s: %w", binary, err)
		}
		m.Spec.Platforms = append(m.Spec.Platforms, one)
	}
	text, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	return p.write(plugin+".yaml", text)
}

func (p packing) write(name string, text []byte) error {
	return os.WriteFile(filepath.Join(p.out, name), text, 0o644) //nolint:gosec // as its folder
}

// archive packs the binary of one platform.
func (p packing) archive(binary string, license []byte) (platform, error) {
	name := filepath.Base(filepath.Dir(binary))
	goos, goarch, _ := strings.Cut(name, "-")
	built, err := p.platform(binary)
	if err != nil {
		return platform{}, err
	}
	if built != name {
		return platform{}, fmt.Errorf("was built for %s", built)
	}
	text, err := os.ReadFile(binary)
	if err != nil {
		return platform{}, err
	}
	files := []file{{"LICENSE", 0o644, license}, {filepath.Base(binary), 0o755, text}}
	pack, end := tarred, ".tar.gz"
	if goos == "windows" {
		pack, end = zipped, ".zip"
	}
	packed, err := pack(files)
	if err != nil {
		return platform{}, err
	}
	archive := program + "-" + name + end
	sum := sha256.Sum256(packed)
	one := platform{
		Selector: selector{map[string]string{"os": goos, "arch": goarch}},
		URI:      strings.TrimSuffix(p.download, "/") + "/" + archive,
		Sha256:   hex.EncodeToString(sum[:]),
		Bin:      path.Base(filepath.ToSlash(binary)),
	}
	for _, f := range files {
		one.Files = append(one.Files, copied{f.name, "."})
	}
	return one, errors.Join(p.write(archive, packed), p.write(archive+".sha256", fmt.Appendf(nil, "%s  %s\n", one.Sha256, archive)))
}

// platformOf says what a binary was built for, and refuses one that needs a
// library of the system.
func platformOf(file string) (string, error) {
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return "", err
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if set["CGO_ENABLED"] != "0" {
		return "", errors.New("is not static: CGO_ENABLED is not 0")
	}
	return set["GOOS"] + "-" + set["GOARCH"], nil
}

// version is what krew takes.
var version = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// semantic is a version as krew takes it, whatever the release is called.
func semantic(of string) string {
	if version.MatchString(of) {
		return of
	}
	return "v0.0.0-x-" + regexp.MustCompile(`[^0-9A-Za-z-]`).ReplaceAllString(of, "-")
}

func tarred(files []file) ([]byte, error) {
	var b bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.text)), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	err = errors.Join(w.Close(), compressed.Close())
	return b.Bytes(), err
}

func zipped(files []file) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		header.SetMode(f.mode)
		to, err := w.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := to.Write(f.text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
