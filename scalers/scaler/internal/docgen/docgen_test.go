package docgen

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGenerate(t *testing.T) {
	got, err := Generate("testdata/family")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/family.golden")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("generated:\n%s\nwant:\n%s", got, want)
	}
}

func TestTheLibrarysOwnDocsAreUpToDate(t *testing.T) {
	for _, folder := range []string{"../../client", "../../credentials/amazon"} {
		got, err := Generate(folder)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(folder, File))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from the doc comments: run docgen", folder)
		}
	}
}

func TestWithoutDocCommentsNothingIsGenerated(t *testing.T) {
	_, err := Generate("testdata/undocumented")
	want := "trigger type queue: queue has no doc comment\nqueueParams.URL has no doc comment"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestNamesOfGoAreNotForUsers(t *testing.T) {
	_, err := Generate("testdata/gonames")
	want := "queueSet: its doc comment names queueList, which no user knows\nTLS: its doc comment names EnableTLS, which no user knows"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

func TestSentence(t *testing.T) {
	tests := map[string]string{
		"Length is the target.":        "The target.",
		"Length are words.":            "Words.",
		"Length counts messages.":      "Counts messages.",
		"Lengths are not about it.":    "Lengths are not about it.",
		"élan of others.":              "Élan of others.",
		"Length":                       "",
		"":                             "",
		"Length is one.\n\nAnd so on.": "One.",
	}
	for comment, want := range tests {
		if got := Sentence("Length", comment); got != want {
			t.Errorf("Sentence(%q) = %q, want %q", comment, got, want)
		}
	}
}
