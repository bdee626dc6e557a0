package output

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFormats(t *testing.T) {
	report := struct {
		Name  string `json:"name"`
		Count int    `json:"count"`
	}{"<a>", 2}
	for name, tt := range map[string]struct {
		own        []string
		says, fail string
	}{
		"json":   {nil, "{\n  \"name\": \"\\u003ca\\u003e\",\n  \"count\": 2\n}\n", ""},
		"yaml":   {nil, "count: 2\nname: <a>\n", ""},
		"github": {[]string{"github: annotations"}, "", ""},
		"wide":   {nil, "", `--output: "wide" is neither json nor yaml`},
		"xml":    {[]string{"github: annotations"}, "", `--output: "xml" is none of json, yaml, github`},
	} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		f := &Format{}
		f.AddFlag(flags, tt.own...)
		if !f.ForPeople() {
			t.Error("it is not for people, though nobody said so")
		}
		if err := flags.Parse([]string{"-o", name}); err != nil {
			t.Fatal(err)
		}
		err := f.Check()
		if (err == nil) != (tt.fail == "") || err != nil && err.Error() != tt.fail {
			t.Errorf("%s: %v", name, err)
		}
		if tt.says == "" {
			continue
		}
		var out bytes.Buffer
		if err := f.Encode(&out, report); err != nil || out.String() != tt.says {
			t.Errorf("%s: %v: %s", name, err, out.String())
		}
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&Format{}).AddFlag(flags, "github: annotations")
	if usage := flags.Lookup("output").Usage; !strings.HasSuffix(usage, "; github: annotations") {
		t.Error(usage)
	}
}
