package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestLyingServers feeds what lying servers send, at once and byte by byte.
func TestLyingServers(t *testing.T) {
	tests := map[string]struct{ sent, want string }{
		"an array of all there is":             {"*9223372036854775807\r\n", "the server announced an array of 9223372036854775807 elements, at most 65536"},
		"a set of too many":                    {"~65537\r\n", "the server announced a set of 65537 elements, at most 65536"},
		"a message of too many":                {">65537\r\n", "the server announced a message of 65537 elements, at most 65536"},
		"a map, which has two of each":         {"%32769\r\n", "the server announced a map of 32769 elements, at most 65536"},
		"attributes":                           {"|4611686018427387904\r\n", "the server announced an answer of more than 65536 elements in all"},
		"a length beyond numbers":              {"*92233720368547758070\r\n", "the server announced a length of more than 9223372036854775807"},
		"a length just beyond numbers":         {"*9223372036854775808\r\n", "the server announced a length of more than 9223372036854775807"},
		"a string of all there is":             {"$9223372036854775807\r\n", "the server announced a string of 9223372036854775807 bytes, at most 524288"},
		"a string too long":                    {"$524289\r\n", "the server announced a string of 524289 bytes, at most 524288"},
		"a verbatim string":                    {"=2147483648\r\n", "the server announced a string of 2147483648 bytes, at most 524288"},
		"an error as a string":                 {"!2147483648\r\n", "the server announced a string of 2147483648 bytes, at most 524288"},
		"within an array":                      {"*2\r\n:1\r\n$524289\r\n", "the server announced a string of 524289 bytes, at most 524288"},
		"many arrays that are each small":      {"*2000\r\n" + strings.Repeat("*60\r\n"+strings.Repeat(":1\r\n", 60), 1100), "the server announced an answer of more than 65536 elements in all"},
		"deeper and deeper":                    {strings.Repeat("*1\r\n", 1000), "the server announced an answer that is nested more than 16 deep"},
		"deeper by maps":                       {strings.Repeat("%1\r\n", 1000), "the server announced an answer that is nested more than 16 deep"},
		"attributes without end":               {strings.Repeat("|0\r\n", 70000), "the server announced an answer of more than 65536 elements in all"},
		"attributes of attributes":             {strings.Repeat("|1\r\n", 1000), "the server announced an answer that is nested more than 16 deep"},
		"a negative length":                    {"$-5\r\n", "the answer is not one of Redis"},
		"a negative array":                     {"*-2\r\n", "the answer is not one of Redis"},
		"no length":                            {"$\r\n", "the answer is not one of Redis"},
		"a sign alone":                         {"$-\r\n", "the answer is not one of Redis"},
		"a length of zeros without end":        {"*" + strings.Repeat("0", 100), "the answer is not one of Redis"},
		"a length that is no number":           {"*1x\r\n", "the answer is not one of Redis"},
		"a string in a stream":                 {"$?\r\n", "the server streams an answer of unknown length"},
		"an array in a stream":                 {"*?\r\n", "the server streams an answer of unknown length"},
		"a line without end":                   {"+" + strings.Repeat("x", 70000), "the server sent a line of more than 65536 bytes"},
		"an error without end":                 {"-ERR " + strings.Repeat("x", 70000), "the server sent a line of more than 65536 bytes"},
		"a number without end":                 {"(" + strings.Repeat("1", 100), "the server sent a line of more than 64 bytes"},
		"a fraction without end":               {",1." + strings.Repeat("1", 100), "the server sent a line of more than 64 bytes"},
		"a line that ends half":                {"+OK\n", "the answer is not one of Redis"},
		"another protocol":                     {"HTTP/1.1 400 Bad Request\r\n", "the answer is not one of Redis"},
		"a second answer, after one that fits": {"+OK\r\n*9999999\r\n", "the server announced an array of 9999999 elements, at most 65536"},
	}
	for name, tt := range tests {
		for _, size := range []int{1, 3, 1 << 20} {
			t.Run(fmt.Sprint(name, " by ", size), func(t *testing.T) {
				if err := checked(tt.sent, size); err == nil || err.Error() != tt.want {
					t.Errorf("error = %v, want %q", err, tt.want)
				}
			})
		}
	}
}

// TestHonestServers feeds answers of every kind.
func TestHonestServers(t *testing.T) {
	tests := map[string]string{
		"lines":              "+OK\r\n-ERR no\r\n:-1\r\n_\r\n#t\r\n,-inf\r\n(12345678901234567890123\r\n",
		"strings":            "$0\r\n\r\n$5\r\nhel\r\n\r\n=7\r\ntxt:abc\r\n!3\r\nERR\r\n$-1\r\n",
		"arrays":             "*0\r\n*-1\r\n*2\r\n*2\r\n:1\r\n$1\r\n\n\r\n*0\r\n~1\r\n_\r\n>1\r\n+x\r\n",
		"maps":               "%0\r\n%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n%1\r\n+c\r\n*-1\r\n",
		"attributes":         "|1\r\n+ttl\r\n:1\r\n+OK\r\n*2\r\n|1\r\n+a\r\n:1\r\n:1\r\n:2\r\n|0\r\n:1\r\n",
		"the most":           "*65535\r\n" + strings.Repeat(":1\r\n", 65535) + "$524288\r\n" + strings.Repeat("x", 524288) + "\r\n",
		"the deepest":        strings.Repeat("*1\r\n", 15) + ":1\r\n",
		"line of the length": "+" + strings.Repeat("x", 65536) + "\r\n",
	}
	for name, sent := range tests {
		for _, size := range []int{1, 3, 1 << 20} {
			t.Run(fmt.Sprint(name, " by ", size), func(t *testing.T) {
				r := newRESP(ofReads, uncounted)
				if err := feed(r, sent, size); err != nil || r.depth != 0 {
					t.Errorf("depth %d at the end, error %v", r.depth, err)
				}
				if err := feed(r, "?", 1); !errors.Is(err, errNoRedis) {
					t.Errorf("it is not at the start of an answer: %v", err)
				}
			})
		}
	}
}

func checked(sent string, size int) error { return feed(newRESP(ofReads, uncounted), sent, size) }

func uncounted(int) error { return nil }

// TestWhatIsAnnouncedCounts: the client takes memory for it before any of it is
// there.
func TestWhatIsAnnouncedCounts(t *testing.T) {
	for sent, want := range map[string]int{
		"*65535\r\n":                      65535 * elementSize,
		"%32767\r\n":                      65534 * elementSize,
		"$524288\r\n":                     512 << 10,
		"*2\r\n*100\r\n$1000\r\n":         102*elementSize + 1000,
		"+OK\r\n:1\r\n-ERR no\r\n*-1\r\n": 0,
	} {
		counted := 0
		r := newRESP(ofReads, func(bytes int) error {
			counted += bytes
			return nil
		})
		if err := feed(r, sent, 1); err != nil || counted != want {
			t.Errorf("%q: %d bytes, want %d, %v", sent, counted, want, err)
		}
		crowded := errors.New("crowded")
		r = newRESP(ofReads, func(int) error { return crowded })
		if err := feed(r, sent, 1); want > 0 && !errors.Is(err, crowded) {
			t.Errorf("%q: %v when there is no room", sent, err)
		}
	}
}

// TestLittleIsSaidBesideReads: what nobody counts is small.
func TestLittleIsSaidBesideReads(t *testing.T) {
	for _, sent := range []string{"*1025\r\n", "%513\r\n", "$16385\r\n"} {
		if err := feed(newRESP(besideReads, uncounted), sent, 1); err == nil {
			t.Errorf("%q is let through", sent)
		}
	}
	message := "*3\r\n$7\r\nmessage\r\n$20\r\n" + invalidations + "\r\n*1\r\n$4\r\njobs\r\n"
	if err := feed(newRESP(besideReads, uncounted), message, 1); err != nil {
		t.Error(err)
	}
}

// feed gives r what was sent, in pieces.
func feed(r *resp, sent string, size int) error {
	for len(sent) > 0 {
		n := min(size, len(sent))
		if err := r.Check([]byte(sent[:n])); err != nil {
			return err
		}
		sent = sent[n:]
	}
	return nil
}

func BenchmarkRESP(b *testing.B) {
	for name, answer := range map[string]string{
		"lengths": strings.Repeat(":12345\r\n", 500),
		"groups":  strings.Repeat("*12\r\n"+strings.Repeat("$4\r\nname\r\n:12345\r\n", 6), 50),
	} {
		b.Run(name, func(b *testing.B) {
			r, p := newRESP(ofReads, uncounted), []byte(answer)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if err := r.Check(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
