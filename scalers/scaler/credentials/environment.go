package credentials

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// environment reads the variables that the trigger names.
func (w *work) environment(ctx context.Context) {
	values, err := w.variables(ctx, w.ref.Env, w.ref.Variables)
	w.creds.Env = values
	w.wrong.add("", err)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !w.fits(len(values[name])) {
			w.wrong.add("variable "+name, invalid("with it all values together have more than %d bytes", mostBytes))
		}
	}
}

// env reads the variables that the authentication object names.
func (w *work) env(ctx context.Context, parameters []envParameter) {
	for i, p := range parameters {
		if w.full {
			return // whatever else there is, it is too much
		}
		var value string
		err := w.work(ctx)
		if err == nil {
			value, err = w.variableOf(ctx, p)
		}
		w.set(p.Parameter, value, place("env", i, p.Parameter), err)
	}
}

// variableOf reads a variable of a container, the first one by default.
func (w *work) variableOf(ctx context.Context, p envParameter) (string, error) {
	containers := w.ref.Containers
	if len(containers) == 0 {
		return "", words.Errorf(codes.FailedPrecondition, "the scale target has no containers whose environment could be used")
	}
	at := 0
	if p.ContainerName != "" {
		at = slices.IndexFunc(containers, func(c scalerv1.Container) bool { return c.Name == p.ContainerName })
	}
	switch {
	case at < 0 && containers[len(containers)-1].Incomplete:
		return "", tooLarge("container " + p.ContainerName)
	case at < 0:
		return "", words.Errorf(codes.NotFound, "the scale target has no container %s", p.ContainerName)
	}
	env := containers[at].Env
	if _, ok := env[p.Name]; !ok {
		if from, ok := scalerv1.Variable(containers[at].EnvFrom, p.Name); ok {
			env = map[string]scalerv1.EnvVar{p.Name: from}
		}
	}
	values, err := w.variables(ctx, env, []string{p.Name})
	if err != nil {
		return "", err
	}
	value, ok := values[p.Name]
	switch {
	case !ok && containers[at].Incomplete:
		return "", tooLarge("variable " + p.Name + " of container " + containers[at].Name)
	case !ok:
		return "", words.Errorf(codes.NotFound, "container %s has no variable %s", containers[at].Name, p.Name)
	case strings.TrimSpace(value) == "":
		return "", empty("variable %s of container %s is empty", p.Name, containers[at].Name)
	}
	return value, nil
}

// tooLarge is about what the core may have left out.
func tooLarge(what string) error {
	return words.Errorf(codes.FailedPrecondition,
		"%s is not known: the environment of the scale target is too large to be told in full; name a Secret or ConfigMap in the authentication instead", what)
}

// variables reads variables by name. One that is not there is left out; one
// that cannot be read is an error.
func (w *work) variables(ctx context.Context, env map[string]scalerv1.EnvVar, names []string) (map[string]string, error) {
	var wrong problems
	values, err := scalerv1.ResolveEnv(env, names, func(name string, v scalerv1.EnvVar) (string, scalerv1.Finding) {
		value, found, err := w.variable(ctx, v)
		switch {
		case err != nil:
			wrong.add("variable "+name, err)
		case found:
			return value, scalerv1.Found
		}
		return "", scalerv1.Absent
	})
	if err != nil {
		wrong.add("", invalid("%v", err))
	}
	return values, wrong.err("")
}

// variable reads a reference.
func (w *work) variable(ctx context.Context, v scalerv1.EnvVar) (string, bool, error) {
	if len(v.EnvFrom) == 0 {
		return w.reference(ctx, v, true)
	}
	for _, from := range v.EnvFrom {
		value, found, err := w.reference(ctx, from, false)
		if found || err != nil {
			return value, found, err
		}
	}
	return "", false, nil
}

// reference reads one key of a Secret or ConfigMap in the namespace of the
// workload. An object that is not optional must be there; its key as well,
// where that is what the workload names.
func (w *work) reference(ctx context.Context, v scalerv1.EnvVar, keyNeeded bool) (value string, found bool, err error) {
	var ref *scalerv1.KeyRef
	var what string
	if ref = v.SecretKeyRef; ref != nil {
		what = "Secret"
		var s *secret
		if s, err = w.secretObject(ctx, w.ref.Namespace, ref.Name); err == nil {
			var text []byte
			text, found = s.Data[ref.Key]
			value = string(text)
		}
	} else if ref = v.ConfigMapKeyRef; ref != nil {
		what = "ConfigMap"
		var m *configMap
		if m, err = w.configMapObject(ctx, w.ref.Namespace, ref.Name); err == nil {
			value, found = m.Data[ref.Key]
		}
	} else {
		return "", false, errors.New("is neither of a Secret nor of a ConfigMap")
	}
	switch {
	case status.Code(err) == codes.NotFound && ref.Optional:
		return "", false, nil
	case err != nil:
		return "", false, err
	case !found && keyNeeded && !ref.Optional:
		return "", false, words.Errorf(codes.NotFound, "%s %s/%s has no key %s", what, w.ref.Namespace, ref.Name, ref.Key)
	}
	return value, found, nil
}
