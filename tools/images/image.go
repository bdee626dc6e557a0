package main

import (
	"maps"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is the number under which every process runs; it has no name, no shell
// and no home.
const user = "65532:65532"

// epoch stands for every time in an image, so that the same binaries give the
// same digest.
var epoch = time.Unix(0, 0).UTC()

// index builds the image of each architecture and the index over them.
func (p process) index(version string) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range slices.Sorted(maps.Keys(p.binaries)) {
		binary, err := os.ReadFile(p.binaries[architecture])
		if err != nil {
			return nil, err
		}
		platform := v1.Platform{OS: "linux", Architecture: architecture}
		image, err := build(p.name, version, platform, binary)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &platform},
		})
	}
	return index, nil
}

// build puts one binary on an empty base, with the roots of public
// certificate authorities. Time zones are inside the binaries that need them.
func build(name, version string, platform v1.Platform, binary []byte) (v1.Image, error) {
	roots, err := layer(file{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: publicRoots()})
	if err != nil {
		return nil, err
	}
	program, err := layer(file{path: name, mode: 0o755, content: binary})
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	// The roots change rarely: their layer comes first and is shared.
	image, err = mutate.AppendLayers(image, roots, program)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = platform.OS, platform.Architecture
	config.Created = v1.Time{Time: epoch}
	config.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/" + name},
		WorkingDir: "/",
		Env:        []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "sluice/" + name,
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}
