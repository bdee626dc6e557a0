// Command images packs static binaries into OCI images, without a container
// runtime and without pulling anything.
//
// It reads <binaries>/<architecture>/<process> and writes one OCI image layout
// <out>/<process> per process, an index over all architectures found, and the
// same as an archive, <out>/<process>.tar, for nodes that import images. Images
// have the names and tags that a kustomization gives them, so that what is
// built is what the manifests ask for.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func main() {
	binaries := flag.String("binaries", "", "folder of <architecture>/<process> Linux binaries")
	names := flag.String("names", "", "kustomization whose images: list has the name and tag of each process's image")
	version := flag.String("version", "unknown", "version written into the labels")
	out := flag.String("out", "", "folder that receives one OCI layout per process, and the same as <process>.tar")
	flag.Parse()
	if err := run(*binaries, *names, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// run replaces the layouts of all processes found under binaries, and their
// archives beside them.
func run(binaries, names, version, out string) error {
	processes, err := find(binaries)
	if err != nil {
		return err
	}
	references, err := readNames(names)
	if err != nil {
		return err
	}
	for _, p := range processes {
		reference, known := references[p.name]
		if !known {
			return fmt.Errorf("%s: no image of that name in %s", p.name, names)
		}
		index, err := p.index(version)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		dir := filepath.Join(out, p.name)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := write(dir, reference, index); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if err := archive(dir, dir+".tar"); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Println(dir, digest)
	}
	return nil
}

// write makes a layout with one entry, tagged as the manifests have it: tools
// that copy a layout expect one image in it, of however many platforms.
func write(dir string, reference name.Tag, index v1.ImageIndex) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": reference.TagStr(),
		// What containerd calls an image that it imports.
		"io.containerd.image.name": reference.Name(),
	}))
}
