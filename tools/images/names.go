package main

import (
	"fmt"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	"sigs.k8s.io/yaml"
)

// readNames returns what the images of a kustomization are called, by the last
// part of the name in the manifests, which is the process.
func readNames(file string) (map[string]name.Tag, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Images []struct {
			Name    string `json:"name"`
			NewName string `json:"newName"`
			NewTag  string `json:"newTag"`
		} `json:"images"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	names := map[string]name.Tag{}
	for _, image := range kustomization.Images {
		called := image.Name
		if image.NewName != "" {
			called = image.NewName
		}
		tag, err := name.NewTag(called+":"+image.NewTag, name.StrictValidation)
		if err != nil {
			return nil, fmt.Errorf("%s: image %s: %w", file, image.Name, err)
		}
		names[path.Base(image.Name)] = tag
	}
	return names, nil
}
