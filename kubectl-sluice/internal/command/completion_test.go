package command

import (
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/apitest"
)

// TestCompletion: a shell is offered names of objects and namespaces of the user's
// cluster, orders and formats; of what cannot be asked, nothing.
func TestCompletion(t *testing.T) {
	list := func(names ...string) string {
		var items []string
		for _, name := range names {
			items = append(items, `{"metadata": {"name": "`+name+`"}}`)
		}
		return `{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "items": [` + strings.Join(items, ",") + `]}`
	}
	a := &apitest.API{T: t, Forbidden: map[string]bool{scaledJobsOfShop: true}, Objects: map[string]string{
		scaledObjectsOfShop: list("orders", "other", "batch"), "/api/v1/namespaces": list("shop", "default", "sluice-system"),
	}}
	host := a.Start().Host
	for line, want := range map[string]string{
		"why ":                         "sj/ so/ :6",
		"why s":                        "sj/ so/ :6",
		"why so/":                      "so/batch so/orders so/other :4",
		"probe scaledobject/o":         "scaledobject/orders scaledobject/other :4",
		"pin so/orders ":               ":4",
		"pause sj/":                    ":4", // which may not be listed
		"why deploy/":                  ":4",
		"top --sort-by ":               "active backlog cold-start failures load name replicas :4",
		"check -f x -o ":               "json yaml github :4",
		"version -o ":                  "json yaml :4",
		"grants --roles=":              "exact namespace :4",
		"families --sluice-namespace ": "default shop sluice-system :4",
		"top -n s":                     "shop sluice-system :4",
	} {
		words := strings.Split(line, " ")
		args := []string{"__completeNoDesc", words[0]}
		if words[0] != "version" {
			args = append(args, "--server="+host)
			if !strings.Contains(line, "-n ") {
				args = append(args, "-n", "shop")
			}
		}
		out, _, _ := run(t, "", append(args, words[1:]...)...)
		if have := strings.Join(strings.Fields(out), " "); have != want {
			t.Errorf("%q: %q, want %q", line, have, want)
		}
	}
}
