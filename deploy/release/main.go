// Command release writes the manifests that a release consists of: one file of
// everything, one for each part, the folder of the Helm chart, and the names of
// its images as a kustomization, which make images builds by.
//
//	release -repository .. -registry ghcr.io/example/sluice -tag v1.2.3 -out dist
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

func main() {
	var r release
	flag.StringVar(&r.repository, "repository", "..", "the folder of the repository")
	flag.StringVar(&r.registry, "registry", "", "what the names of images begin with; without it those of deploy/images")
	flag.StringVar(&r.tag, "tag", "", "the tag of all images")
	flag.StringVar(&r.out, "out", "", "the folder that receives the manifests")
	flag.Parse()
	if err := r.write(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is where manifests come from, what their images are called and where
// they go.
type release struct {
	repository, registry, tag, out string
}

// Parts of image references, as the distribution specification has them.
var (
	registries = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	tags       = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// check returns all that is wrong with the flags.
func (r release) check() error {
	var wrong []error
	if r.registry != "" && !registries.MatchString(r.registry) {
		wrong = append(wrong, fmt.Errorf("-registry %q is not <host>[:<port>][/<path>], in lower case", r.registry))
	}
	if !tags.MatchString(r.tag) {
		wrong = append(wrong, fmt.Errorf("-tag %q is not a tag of an image: letters, digits and _.-, at most 128", r.tag))
	}
	if r.out == "" {
		wrong = append(wrong, errors.New("-out is missing"))
	}
	return errors.Join(wrong...)
}

// write writes all files.
func (r release) write() error {
	if err := r.check(); err != nil {
		return err
	}
	images, err := r.images()
	if err != nil {
		return err
	}
	// The names are those of make images, too.
	names, err := yaml.Marshal(types.Kustomization{
		TypeMeta: types.TypeMeta{APIVersion: types.ComponentVersion, Kind: types.ComponentKind},
		Images:   images,
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil { //nolint:gosec // a release is for everybody
		return err
	}
	if err := r.file("kustomization.yaml", names); err != nil {
		return err
	}
	if err := r.chart(images); err != nil {
		return fmt.Errorf("chart: %w", err)
	}
	parts, err := r.parts()
	if err != nil {
		return err
	}
	for file, part := range parts {
		text, err := r.render(part, images)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := r.file(file, text); err != nil {
			return err
		}
	}
	return nil
}

func (r release) file(name string, text []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), text, 0o644) //nolint:gosec // as its folder
}

// images are those of deploy/images, with the registry and the tag of the release.
func (r release) images() ([]types.Image, error) {
	images, err := r.named()
	for i := range images {
		image := &images[i]
		image.NewTag = r.tag
		if r.registry != "" {
			image.NewName = r.registry + "/" + path.Base(image.Name)
		}
	}
	return images, err
}

// named are those of deploy/images.
func (r release) named() ([]types.Image, error) {
	file := filepath.Join(r.repository, "deploy", "images", "kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var has types.Kustomization
	if err := yaml.UnmarshalStrict(text, &has); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return has.Images, nil
}

// part is what a file has: kustomizations, and components over them, by their
// folders under deploy.
type part struct{ resources, components []string }

// parts are those of what is released, by the names of their files.
func (r release) parts() (map[string]part, error) {
	families, err := filepath.Glob(filepath.Join(r.repository, "deploy", "scalers", "*", "kustomization.yaml"))
	if err != nil {
		return nil, err
	}
	if len(families) == 0 {
		return nil, fmt.Errorf("%s has no family: make generate writes them", filepath.Join(r.repository, "deploy", "scalers"))
	}
	parts, all := map[string]part{}, []string{"core"}
	for _, file := range families {
		family := filepath.Base(filepath.Dir(file))
		folder := "scalers/" + family
		parts["scaler-"+family+".yaml"] = part{resources: []string{folder}}
		parts["under-keda-"+family+".yaml"] = part{resources: []string{"under-keda/" + family}}
		all = append(all, folder)
	}
	parts["crds.yaml"] = part{resources: []string{"crds"}}
	parts["core.yaml"] = part{resources: []string{"core"}}
	parts["sluice.yaml"] = part{resources: all}
	parts["sluice-uninstall.yaml"] = part{resources: []string{"overlays/uninstall"}}
	parts["sluice-in-place-of-keda.yaml"] = part{resources: all, components: []string{"components/keda-in-place"}}
	return parts, nil
}

// render returns the objects of a part, with images as they are called.
func (r release) render(of part, images []types.Image) ([]byte, error) {
	dir, err := os.MkdirTemp("", "release")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	layer := types.Kustomization{
		TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind},
		Images:   images,
	}
	repository, err := filepath.Abs(r.repository)
	if err != nil {
		return nil, err
	}
	for list, folders := range map[*[]string][]string{&layer.Resources: of.resources, &layer.Components: of.components} {
		for _, folder := range folders {
			path, err := filepath.Rel(dir, filepath.Join(repository, "deploy", folder))
			if err != nil {
				return nil, err
			}
			*list = append(*list, path)
		}
	}
	text, err := yaml.Marshal(layer)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o600); err != nil {
		return nil, err
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	return rendered.AsYaml()
}
