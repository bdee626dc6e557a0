package localcluster

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, "enter a network of our own:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
