package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// tokenMount is where every client library looks for the Pod's token.
	tokenMount = "/var/run/secrets/kubernetes.io/serviceaccount"
	// freshEvery is how often volumes are compared with the API.
	freshEvery = 2 * time.Second
)

// volume is one mount of a container: a folder whose files come from the API.
type volume struct {
	files  *podFiles
	source *corev1.VolumeSource
	path   string // as the program sees it
	token  *token // of a projected ServiceAccount token, else nil
}

func newVolume(f *podFiles, mount corev1.VolumeMount) (*volume, error) {
	if mount.SubPath != "" || mount.SubPathExpr != "" {
		return nil, errors.New("subPath is not supported")
	}
	for _, candidate := range f.instance.pod.Spec.Volumes {
		if candidate.Name == mount.Name {
			return &volume{files: f, source: &candidate.VolumeSource, path: mount.MountPath}, nil
		}
	}
	return nil, errors.New("the Pod does not define it")
}

// write makes the folder and brings its files up to date.
func (v *volume) write(ctx context.Context) error {
	dir := v.files.inside(v.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	switch {
	case v.source.EmptyDir != nil:
		return ownBy(dir, v.files.uid)
	case v.source.Secret != nil:
		s := v.source.Secret
		data, err := v.files.secret(ctx, s.SecretName, isTrue(s.Optional))
		return v.writeItems(data, s.Items, mode(s.DefaultMode), err)
	case v.source.ConfigMap != nil:
		m := v.source.ConfigMap
		data, err := v.files.configMap(ctx, m.Name, isTrue(m.Optional))
		return v.writeItems(data, m.Items, mode(m.DefaultMode), err)
	case v.source.DownwardAPI != nil:
		return v.writeFields(v.source.DownwardAPI.Items, mode(v.source.DownwardAPI.DefaultMode))
	case v.source.Projected != nil:
		for _, projection := range v.source.Projected.Sources {
			if err := v.project(ctx, projection, mode(v.source.Projected.DefaultMode)); err != nil {
				return err
			}
		}
		return nil
	default:
		return errors.New("only emptyDir, secret, configMap, downwardAPI and projected volumes are supported")
	}
}

func mode(given *int32) os.FileMode {
	if given == nil {
		return 0o644
	}
	return os.FileMode(*given)
}

func (v *volume) project(ctx context.Context, p corev1.VolumeProjection, mode os.FileMode) error {
	switch {
	case p.Secret != nil:
		data, err := v.files.secret(ctx, p.Secret.Name, isTrue(p.Secret.Optional))
		return v.writeItems(data, p.Secret.Items, mode, err)
	case p.ConfigMap != nil:
		data, err := v.files.configMap(ctx, p.ConfigMap.Name, isTrue(p.ConfigMap.Optional))
		return v.writeItems(data, p.ConfigMap.Items, mode, err)
	case p.DownwardAPI != nil:
		return v.writeFields(p.DownwardAPI.Items, mode)
	case p.ServiceAccountToken != nil:
		return v.writeToken(ctx, p.ServiceAccountToken)
	default:
		return errors.New("this kind of projection is not supported")
	}
}

// writeItems writes the chosen keys under their paths, or all under their own
// names.
func (v *volume) writeItems(data map[string]string, items []corev1.KeyToPath, mode os.FileMode, err error) error {
	if err != nil {
		return err
	}
	if len(items) == 0 {
		for key, content := range data {
			if err := v.writeFile(key, content, mode); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		content, found := data[item.Key]
		if !found {
			return fmt.Errorf("no key %s", item.Key)
		}
		if item.Mode != nil {
			mode = os.FileMode(*item.Mode)
		}
		if err := v.writeFile(item.Path, content, mode); err != nil {
			return err
		}
	}
	return nil
}

func (v *volume) writeFields(items []corev1.DownwardAPIVolumeFile, mode os.FileMode) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return fmt.Errorf("%s: only fieldRef is supported", item.Path)
		}
		content, err := v.files.field(item.FieldRef.FieldPath)
		if err != nil {
			return fmt.Errorf("%s: %w", item.Path, err)
		}
		if err := v.writeFile(item.Path, content, mode); err != nil {
			return err
		}
	}
	return nil
}

// writeFile replaces a file whole, and leaves one alone that is right already,
// so that a watching program is woken by changes only.
func (v *volume) writeFile(name, content string, mode os.FileMode) error {
	target := filepath.Join(v.files.inside(v.path), name)
	if now, err := os.ReadFile(target); err == nil && string(now) == content {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	next := target + ".new"
	if err := os.WriteFile(next, []byte(content), mode); err != nil {
		return err
	}
	if err := ownBy(next, v.files.uid); err != nil {
		return err
	}
	return os.Rename(next, target)
}

// keepFresh brings the volumes up to date until ctx ends. What cannot be read
// stays as it was, as with a kubelet.
func (f *podFiles) keepFresh(ctx context.Context) {
	tick := time.NewTicker(freshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, v := range f.volumes {
			_ = v.write(ctx)
		}
	}
}
