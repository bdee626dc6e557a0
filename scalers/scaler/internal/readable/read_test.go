package readable

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/status"
)

func TestReadableFiles(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, folder := range []string{"listed", "listed/data", "elsewhere"} {
		if err := os.Mkdir(in(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, in("listed/data/token"), "hunter2")
	writeFile(t, in("listed/large"), strings.Repeat("x", maxFile+1))
	writeFile(t, in("elsewhere/key"), "hunter2")
	writeFile(t, in("single"), "alone")
	for link, to := range map[string]string{"listed/token": "data/token", "listed/out": "../elsewhere/key"} {
		if err := os.Symlink(to, in(link)); err != nil {
			t.Fatal(err)
		}
	}
	// Whoever opens it waits for somebody to write.
	if err := syscall.Mkfifo(in("listed/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	Set([]string{in("listed"), in("single")})
	t.Cleanup(func() { Set(nil) })
	tests := map[string]struct{ path, content, message string }{
		"a file of a directory that is listed":     {path: in("listed/data/token"), content: "hunter2"},
		"a link within it, as in a mounted volume": {path: in("listed/token"), content: "hunter2"},
		"a file that is listed itself":             {path: in("single"), content: "alone"},
		"a link that leads out":                    {path: in("listed/out"), message: `file "out": path escapes from parent`},
		"a way out":                                {path: in("listed/../elsewhere/key"), message: "the family's --readable-files does not list it"},
		"a neighbour of the same beginning":        {path: in("single2"), message: "the family's --readable-files does not list it"},
		"a relative path":                          {path: "token", message: `file "token": is not an absolute path`},
		"a file that is not there":                 {path: in("listed/gone"), message: `file "gone": no such file or directory`},
		"a large file":                             {path: in("listed/large"), message: `file "large": is larger than 1 MiB`},
		"a directory":                              {path: in("listed/data"), message: `file "data": is not a regular file`},
		"a pipe":                                   {path: in("listed/pipe"), message: `file "pipe": is not a regular file`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			content, err := Read(tt.path)
			if string(content) != tt.content || !strings.Contains(status.Convert(err).Message(), tt.message) {
				t.Errorf("content = %q, error = %v, want %q, %q", content, err, tt.content, tt.message)
			}
			if (err == nil) != (tt.message == "") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
