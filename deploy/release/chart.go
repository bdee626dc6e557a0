package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// chart copies the Helm chart into the folder chart, with the images and the
// version of the release, for Helm to make an archive of it.
func (r release) chart(images []types.Image) error {
	before, err := release{repository: r.repository}.named()
	if err != nil {
		return err
	}
	source := filepath.Join(r.repository, "deploy", "helm", "sluice")
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		relative, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, image := range images {
			text = bytes.ReplaceAll(text, []byte("image: "+reference(before[i])+"\n"), []byte("image: "+reference(image)+"\n"))
		}
		if relative == "Chart.yaml" {
			if text, err = r.versioned(text); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(filepath.Join(r.out, "chart", "sluice", filepath.Dir(relative)), 0o755); err != nil { //nolint:gosec // as its folder
			return err
		}
		return r.file(filepath.Join("chart", "sluice", relative), text)
	})
}

// reference is what a manifest calls an image.
func reference(image types.Image) string {
	name := image.Name
	if image.NewName != "" {
		name = image.NewName
	}
	return name + ":" + image.NewTag
}

// semantic are the versions that Helm takes.
var semantic = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

// versioned is a Chart.yaml with the version of the release, which may be any
// tag.
func (r release) versioned(text []byte) ([]byte, error) {
	var chart map[string]any
	if err := yaml.Unmarshal(text, &chart); err != nil {
		return nil, fmt.Errorf("file Chart.yaml: %w", err)
	}
	version := strings.TrimPrefix(r.tag, "v")
	if !semantic.MatchString(version) {
		version = "0.0.0-x-" + regexp.MustCompile(`[^0-9A-Za-z-]`).ReplaceAllString(version, "-")
	}
	chart["version"], chart["appVersion"] = version, r.tag
	return yaml.Marshal(chart)
}
