// Command gitops says how objects are by the checks of Argo CD and of Flux: by Argo
// CD's own scripts for KEDA's kinds, and by the library that Flux asks. It takes a
// List in JSON and prints one. It is a module of its own, so that nothing else links
// them.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/argoproj/argo-cd/v3/resource_customizations"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gitops:", err)
		os.Exit(1)
	}
}

// Health is what both make of an object.
type Health struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	// ArgoCD is "" where it has no check for the kind: it waits for nothing then.
	ArgoCD        string `json:"argoCD"`
	ArgoCDMessage string `json:"argoCDMessage"`
	Flux          string `json:"flux"`
	FluxMessage   string `json:"fluxMessage"`
}

func run(in io.Reader, out io.Writer) error {
	var list struct {
		Items []map[string]any `json:"items"`
	}
	if err := json.NewDecoder(in).Decode(&list); err != nil {
		return err
	}
	all := []Health{}
	for _, item := range list.Items {
		h, err := healthOf(item)
		if err != nil {
			return err
		}
		all = append(all, h)
	}
	return json.NewEncoder(out).Encode(all)
}

func healthOf(object map[string]any) (Health, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return Health{}, err
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil { // with integers, as from an API server
		return Health{}, err
	}
	h := Health{Kind: u.GetKind(), Name: u.GetName()}
	if h.ArgoCD, h.ArgoCDMessage, err = argoCD(u); err != nil {
		return h, fmt.Errorf("%s %s: %w", h.Kind, h.Name, err)
	}
	result, err := status.Compute(u)
	if err != nil {
		return h, fmt.Errorf("%s %s: %w", h.Kind, h.Name, err)
	}
	h.Flux, h.FluxMessage = result.Status.String(), result.Message
	return h, nil
}

// argoCD runs the script that Argo CD has for the kind, as it does: the object is the
// global obj, and what it returns has status and message.
//
// Source: https://argo-cd.readthedocs.io/en/stable/operator-manual/health/#custom-health-checks
func argoCD(u *unstructured.Unstructured) (health, message string, err error) {
	gvk := u.GroupVersionKind()
	script, err := fs.ReadFile(resource_customizations.Embedded, gvk.Group+"/"+gvk.Kind+"/health.lua")
	if err != nil {
		return "", "", nil // there is none for this kind
	}
	state := lua.NewState()
	defer state.Close()
	state.SetGlobal("obj", value(state, u.Object))
	if err := state.DoString(string(script)); err != nil {
		return "", "", err
	}
	table, is := state.Get(-1).(*lua.LTable)
	if !is {
		return "", "", fmt.Errorf("the script returned a %s", state.Get(-1).Type())
	}
	text := func(key string) string { return lua.LVAsString(table.RawGetString(key)) }
	return text("status"), text("message"), nil
}

// value is what Lua sees of a part of an object.
func value(state *lua.LState, of any) lua.LValue {
	switch of := of.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, part := range of {
			table.RawSetString(key, value(state, part))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, part := range of {
			table.Append(value(state, part))
		}
		return table
	case string:
		return lua.LString(of)
	case bool:
		return lua.LBool(of)
	case int64:
		return lua.LNumber(of)
	case float64:
		return lua.LNumber(of)
	}
	return lua.LNil
}
