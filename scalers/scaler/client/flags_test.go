package client

import (
	"flag"
	"slices"
	"testing"
)

func TestCADirFlagReplacesTheDefault(t *testing.T) {
	t.Cleanup(func() { caDirs.Store(nil) })
	flags := flag.NewFlagSet("family", flag.ContinueOnError)
	Flags(flags)
	if err := flags.Parse([]string{"--ca-dir", "/a", "--ca-dir=/b"}); err != nil {
		t.Fatal(err)
	}
	if got, want := *caDirs.Load(), []string{"/a", "/b"}; !slices.Equal(got, want) {
		t.Errorf("directories = %q, want %q", got, want)
	}
}

func TestABadEnvironmentIsRefusedAtStart(t *testing.T) {
	for _, key := range []string{"KEDA_HTTP_MIN_TLS_VERSION", "KEDA_HTTP_TLS_CIPHER_LIST", "KEDA_HTTP_DEFAULT_TIMEOUT", "KEDA_HTTP_DISABLE_KEEP_ALIVE"} {
		err := CheckEnvironment(func(asked string) string {
			if asked == key {
				return "nonsense"
			}
			return ""
		})
		if err == nil {
			t.Errorf("%s: nonsense is accepted", key)
		}
	}
}
