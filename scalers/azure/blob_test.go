package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = cases.Add("azure-blob", func(t testing.TB) scalertest.Case {
	a := servers.SharedAzurite(t)
	owner(t, a.BlobURL()).container("contract", "a", "b", "c")
	return scalertest.Case{Address: a.BlobAddr(), At: func(address string) map[string]string {
		return joined(map[string]string{"blobContainerName": "contract"}, storageAuth(address))
	}}
})

// container makes a container with blobs of these names.
func (a account) container(name string, blobs ...string) {
	a.Helper()
	a.do(http.MethodPut, name, map[string][]string{"restype": {"container"}}, nil, "")
	for _, blob := range blobs {
		a.blob(name, blob, nil, "x")
	}
}

// blob writes one.
func (a account) blob(container, name string, metadata map[string]string, body string) {
	a.Helper()
	header := joined(map[string]string{"x-ms-blob-type": "BlockBlob"}, metadata)
	a.do(http.MethodPut, container+"/"+escaped(name), nil, header, body)
}

func TestBlob(t *testing.T) {
	a := servers.SharedAzurite(t)
	of := owner(t, a.BlobURL())
	of.container("files", "a.txt", "b.txt", "c.csv", "in/d.txt", "in/e.csv", "in/deep/f.txt", "other/g.txt", "ü&<1>.txt")
	of.container("bare")
	auth := map[string]string{"connection": a.Connection()}
	family := scalertest.Serve(t, triggers...)
	tests := map[string]struct {
		metadata map[string]string // on top of container files
		auth     map[string]string
		env      map[string]string
		identity scaler.PodIdentity
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"folders do not count":             {auth: auth, want: scalertest.Observation{Value: 4, Active: true}},
		"recursive":                        {auth: auth, metadata: map[string]string{"recursive": "true"}, want: scalertest.Observation{Value: 8, Active: true}},
		"a folder":                         {auth: auth, metadata: map[string]string{"blobPrefix": "in"}, want: scalertest.Observation{Value: 2, Active: true}},
		"a folder and what is in it":       {auth: auth, metadata: map[string]string{"blobPrefix": "in", "recursive": "true"}, want: scalertest.Observation{Value: 3, Active: true}},
		"a prefix of folders":              {auth: auth, metadata: map[string]string{"blobPrefix": "i", "recursive": "true"}, want: scalertest.Observation{Value: 3, Active: true}},
		"another delimiter":                {auth: auth, metadata: map[string]string{"blobDelimiter": "."}},
		"a pattern":                        {auth: auth, metadata: map[string]string{"globPattern": "*.txt"}, want: scalertest.Observation{Value: 6, Active: true}},
		"a pattern with a slash before it": {auth: auth, metadata: map[string]string{"globPattern": "/in/*.txt"}, want: scalertest.Observation{Value: 2, Active: true}},
		"a pattern of one character":       {auth: auth, metadata: map[string]string{"globPattern": "?.{txt,csv}"}, want: scalertest.Observation{Value: 3, Active: true}},
		"a pattern with a set":             {auth: auth, metadata: map[string]string{"globPattern": "[!ab].csv"}, want: scalertest.Observation{Value: 1, Active: true}},
		"a name with other characters":     {auth: auth, metadata: map[string]string{"globPattern": "ü&<1>.txt"}, want: scalertest.Observation{Value: 1, Active: true}},
		"a pattern below a folder":         {auth: auth, metadata: map[string]string{"globPattern": "*.txt", "blobPrefix": "in"}, want: scalertest.Observation{Value: 2, Active: true}},
		"at the activation threshold":      {auth: auth, metadata: map[string]string{"activationBlobCount": "4"}, want: scalertest.Observation{Value: 4}},
		"an empty container":               {auth: auth, metadata: map[string]string{"blobContainerName": "bare"}},
		"a literal connection":             {metadata: map[string]string{"connection": a.Connection()}, want: scalertest.Observation{Value: 4, Active: true}},
		"a variable before a literal": {metadata: map[string]string{"connection": storageOfBus, "connectionFromEnv": "C"}, env: map[string]string{"C": a.Connection()},
			want: scalertest.Observation{Value: 4, Active: true}},
		"a variable without value":    {metadata: map[string]string{"connectionFromEnv": "C"}, code: codes.InvalidArgument, message: "connection: is required"},
		"a missing container":         {auth: auth, metadata: map[string]string{"blobContainerName": "bills"}, code: codes.NotFound, message: "container bills: ; 404 Not Found"},
		"a long pattern":              {auth: auth, metadata: map[string]string{"globPattern": strings.Repeat("*a", 257)}, code: codes.InvalidArgument, message: "globPattern: has more than 512 bytes"},
		"no pattern":                  {auth: auth, metadata: map[string]string{"globPattern": "a["}, code: codes.InvalidArgument, message: `globPattern: "a[" is not a pattern`},
		"one of Service Bus":          {auth: map[string]string{"connection": storageOfBus}, code: codes.InvalidArgument, message: "connection: is a connection string of Service Bus or Event Hubs"},
		"another cloud's identity":    {identity: scaler.PodIdentity{Provider: "gcp"}, code: codes.InvalidArgument, message: "podIdentity: provider gcp is not supported here, only azure-workload is"},
		"an identity without account": {identity: scaler.PodIdentity{Provider: "azure-workload"}, code: codes.InvalidArgument, message: "accountName: is required with pod identity azure-workload"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			metadata := joined(map[string]string{"blobContainerName": "files"}, tt.metadata)
			got, err := family.WithAuth(tt.auth).WithEnv(tt.env).WithPodIdentity(tt.identity).Observe(t.Context(), "azure-blob", metadata)
			checkError(t, "azure-blob", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestBlobPages needs more blobs than a page holds, so a handler lists them.
func TestBlobPages(t *testing.T) {
	endless := false
	address := handler(t, func(r *http.Request) (int, string) {
		marker := r.URL.Query().Get("marker")
		next := map[string]string{"": "two", "two": "three"}[marker]
		if endless {
			next = "again"
		}
		return http.StatusOK, fmt.Sprintf("\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs><Blob><Name>%s-1</Name></Blob><Blob><Name Encoded=\"true\">%s%%2D2</Name></Blob><BlobPrefix><Name>x/</Name></BlobPrefix></Blobs><NextMarker>%s</NextMarker></EnumerationResults>", marker, marker, next)
	})
	family := scalertest.Serve(t, triggers...).WithAuth(storageAuth(address))
	for name, tt := range map[string]struct {
		pattern string
		want    float64
	}{"all": {"", 6}, "a pattern": {"*-2", 3}} {
		got, err := family.Observe(t.Context(), "azure-blob", joined(map[string]string{"blobContainerName": "files", "globPattern": tt.pattern}))
		if err != nil || got.Value != tt.want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
	}
	endless = true
	_, err := family.Observe(t.Context(), "azure-blob", map[string]string{"blobContainerName": "loop"})
	checkError(t, "azure-blob", err, codes.Unavailable, "container loop: the list goes on with the page that was just read")
}

func FuzzGlob(f *testing.F) {
	for _, pattern := range []string{"*.txt", "/a/[!b-d]?", "{a,{b,c}}", `\*`, "[", "{", "[]a]", "[a-]", "}", "[!"} {
		f.Add(pattern, "a/b.txt")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		compiled, err := compileGlob(pattern)
		if err == nil {
			compiled.MatchString(name)
		}
	})
}

// TestGlobsCostLittle: a run of stars and question marks is one star at the most, so
// that few of them are tried at each character, and what is longer than a name may be
// is not held against a pattern.
func TestGlobsCostLittle(t *testing.T) {
	for pattern, want := range map[string]string{
		"*?*?*": `(?s)\A...*\z`, "**": `(?s)\A.*\z`, "??": `(?s)\A..\z`, "?*a*?b": `(?s)\A..*a..*b\z`, "*": `(?s)\A.*\z`, "?": `(?s)\A.\z`,
	} {
		compiled, err := compileGlob(pattern)
		if err != nil || compiled.String() != want {
			t.Errorf("%s: %v, %v, want %s", pattern, compiled, err, want)
		}
	}
	source := &blobSource{pattern: "*"}
	for name, want := range map[string]int{strings.Repeat("é", 1024): 1, strings.Repeat("é", 1025): 0} {
		page := "<EnumerationResults><Blobs><Blob><Name>" + name + "</Name></Blob></Blobs></EnumerationResults>"
		if got, _, err := source.count(t.Context(), []byte(page)); err != nil || got != want {
			t.Errorf("a name of %d bytes: %d, %v, want %d", len(name), got, err, want)
		}
	}
}
