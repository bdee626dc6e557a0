package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-autoscaler/sluice/controller/equivalence"
)

func TestCompare(t *testing.T) {
	agrees := equivalence.Object{Kind: "ScaledObject", Namespace: "shop", Name: "worker", Verdict: equivalence.Agrees}
	with := func(v equivalence.Verdict) equivalence.Object {
		o := agrees
		o.Name, o.Verdict = "other", v
		return o
	}
	for name, tt := range map[string]struct {
		document equivalence.Document
		failure  error
		args     []string
		want     int
		says     string
	}{
		"all agree":          {document: equivalence.Document{Mode: equivalence.Shadow, Objects: []equivalence.Object{agrees}}, want: OK, says: "Of 1 objects 1 agree"},
		"one differs":        {document: equivalence.Document{Mode: equivalence.Shadow, Objects: []equivalence.Object{agrees, with(equivalence.Differs)}}, want: Needs, says: "shop/other"},
		"one is not known":   {document: equivalence.Document{Mode: equivalence.Shadow, Objects: []equivalence.Object{with(equivalence.Unknown)}}, want: Needs, says: "not known yet"},
		"one is not served":  {document: equivalence.Document{Mode: equivalence.Shadow, Objects: []equivalence.Object{with(equivalence.NotServed)}}, want: Failed, says: "cannot be served"},
		"nobody is followed": {document: equivalence.Document{Mode: equivalence.Acting}, want: Failed, says: "nobody to compare it with"},
		"as JSON":            {document: equivalence.Document{Mode: equivalence.Shadow, Objects: []equivalence.Object{agrees}}, args: []string{"-o", "json"}, want: OK, says: `"verdict": "agrees"`},
		"another output":     {args: []string{"-o", "xml"}, want: Failed, says: `--output: "xml" is neither json nor yaml`},
		"nobody to ask":      {failure: errors.New("no controller is ready"), want: Failed, says: "no controller is ready"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			command := compareCommandOf(func(context.Context) (func(context.Context, string) ([]byte, error), error) {
				return func(_ context.Context, path string) ([]byte, error) {
					if path != equivalence.Path+"?namespace=shop" {
						t.Errorf("asked for %s", path)
					}
					return json.Marshal(tt.document)
				}, tt.failure
			})
			command.SetArgs(append([]string{"-n", "shop"}, tt.args...))
			command.SetOut(&out)
			err := command.ExecuteContext(t.Context())
			code := OK
			var verdict verdictError
			switch {
			case errors.As(err, &verdict):
				code = int(verdict)
			case err != nil:
				code = Failed
				out.WriteString(err.Error())
			}
			if code != tt.want || !strings.Contains(out.String(), tt.says) {
				t.Errorf("exit code %d, want %d: %s", code, tt.want, &out)
			}
		})
	}
}
