package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// imageUser is the user of our images, for Pods that name none.
const imageUser = 65532

// podFiles is a Pod's root directory and what its container is started with.
type podFiles struct {
	instance  *Instance
	container *corev1.Container
	root      string
	uid       int64
	entry     []string // program and fixed arguments, as seen from inside
	volumes   []*volume
}

// newPodFiles checks that the Pod is one that can run here, and makes its
// files. The error names what is missing or not supported.
func newPodFiles(ctx context.Context, i *Instance) (*podFiles, error) {
	spec := &i.pod.Spec
	if len(spec.Containers) != 1 || len(spec.InitContainers) > 0 {
		return nil, errors.New("a Pod of one container is expected")
	}
	container := &spec.Containers[0]
	f := &podFiles{
		instance:  i,
		container: container,
		root:      i.kubelet.cluster.dir.join("pods", i.Name()),
		uid:       runAs(spec, container),
		entry:     container.Command,
	}
	if len(f.entry) == 0 {
		f.entry = []string{"/" + component(container.Image)}
	}
	if err := f.makeRoot(); err != nil {
		return nil, err
	}
	for _, mount := range container.VolumeMounts {
		v, err := newVolume(f, mount)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", mount.Name, err)
		}
		if err := v.write(ctx); err != nil {
			return nil, fmt.Errorf("volume %s: %w", mount.Name, err)
		}
		f.volumes = append(f.volumes, v)
	}
	return f, nil
}

func runAs(spec *corev1.PodSpec, container *corev1.Container) int64 {
	if c := container.SecurityContext; c != nil && c.RunAsUser != nil {
		return *c.RunAsUser
	}
	if p := spec.SecurityContext; p != nil && p.RunAsUser != nil {
		return *p.RunAsUser
	}
	return imageUser
}

// inside is the path outside of a path that the program sees.
func (f *podFiles) inside(path string) string { return filepath.Join(f.root, path) }

// makeRoot puts into the root directory what our images contain: the program
// and the roots of trust.
func (f *podFiles) makeRoot() error {
	for _, dir := range []string{filepath.Dir(f.entry[0]), "/etc/ssl/certs"} {
		if err := os.MkdirAll(f.inside(dir), 0o755); err != nil {
			return err
		}
	}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", f.instance.Address(), f.instance.Name())
	if err := os.WriteFile(f.inside("/etc/hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	if err := linkOrCopy(bundle, f.inside(bundle)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	program, err := f.instance.kubelet.cluster.program(component(f.container.Image))
	if err != nil {
		return err
	}
	return linkOrCopy(program, f.inside(f.entry[0]))
}

// program returns a copy of a component's binary, made once per build, so that
// a new build does not change what runs.
func (c *Cluster) program(name string) (string, error) {
	source := filepath.Join(c.options.BinDir, name)
	info, err := os.Stat(source)
	if err != nil {
		return "", fmt.Errorf("%s is not built: run make build", source)
	}
	if c.Isolated() {
		if err := checkStatic(source); err != nil {
			return "", err
		}
	}
	if err := c.dir.make("programs"); err != nil {
		return "", err
	}
	c.programs.Lock()
	defer c.programs.Unlock()
	target := c.dir.join("programs", fmt.Sprintf("%s-%d", name, info.ModTime().UnixNano()))
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	return target, copyFile(source, target, 0o755)
}

// linkOrCopy replaces target by source.
func linkOrCopy(source, target string) error {
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(source, target) == nil {
		return nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	return copyFile(source, target, info.Mode().Perm())
}

// copyFile makes target appear whole or not at all.
func copyFile(source, target string, mode os.FileMode) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(target+".new", target)
}

// command is the container's process: program, arguments and environment of
// the manifest and nothing of ours.
func (f *podFiles) command(ctx context.Context) (*exec.Cmd, error) {
	env, err := f.environment(ctx)
	if err != nil {
		return nil, err
	}
	args := append([]string{}, f.entry...)
	for _, arg := range f.container.Args {
		args = append(args, expand(arg, env))
	}
	cmd := &exec.Cmd{Args: args}
	if f.instance.kubelet.cluster.Isolated() {
		cmd.Path, cmd.Dir = args[0], "/"
		cmd.SysProcAttr = contained(f.root, f.uid)
	} else {
		cmd.Path, cmd.Dir = f.inside(args[0]), f.root
		f.pointAtVolumes(args, env)
	}
	// A container sees its limit when it starts; here a process is put under
	// its limit a moment later, if there are cgroups at all.
	if limit := f.instance.MemoryLimit(); limit > 0 && f.instance.kubelet.cluster.options.LimitMemory {
		env.set("GOMEMLIMIT", strconv.FormatInt(limit/10*9, 10))
	}
	cmd.Env = env.list()
	return cmd, nil
}

// pointAtVolumes replaces mount paths in arguments and environment, for a
// program that has no root directory of its own, and gives it the kubeconfig
// that stands for the token's mount.
func (f *podFiles) pointAtVolumes(args []string, env *environment) {
	for _, v := range f.volumes {
		for n := range args[1:] {
			args[n+1] = strings.ReplaceAll(args[n+1], v.path, f.inside(v.path))
		}
		for name, value := range env.values {
			env.set(name, strings.ReplaceAll(value, v.path, f.inside(v.path)))
		}
		if v.path == tokenMount {
			env.set("KUBECONFIG", f.inside("/kubeconfig"))
		}
	}
}
