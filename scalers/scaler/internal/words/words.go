// Package words keeps what we say in an error apart from what we quote, so that
// a credential is looked for in what is quoted alone. A password may well be a
// word of ours: masked there, it would be told by the sentence around it.
package words

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errorf is fmt.Errorf with a gRPC code. The text of the format is ours; what
// its verbs put in is quoted, except for errors of Errorf.
func Errorf(code codes.Code, format string, args ...any) error {
	cause := fmt.Errorf(format, args...)
	return &failure{code: code, text: textOf(cause), cause: cause, ours: literals(format)}
}

// Plain is an error whose whole text is ours.
func Plain(code codes.Code, text string) error {
	return &failure{code: code, text: text, ours: []string{text}}
}

// Being is err, by its words and its code, that is to errors.Is and errors.As also
// what kind is.
func Being(err, kind error) error { return &being{err, kind} }

type being struct {
	error
	kind error
}

func (b *being) Unwrap() []error { return []error{b.error, b.kind} }

// GRPCStatus gives the error its code.
func (b *being) GRPCStatus() *status.Status { return status.Convert(b.error) }

// Join puts errors one behind the other. Their words stay what they are.
func Join(code codes.Code, separator string, errs []error) error {
	return Errorf(code, "%w", &list{errs, separator})
}

// Cut is err, if it says no more than some bytes; else one that says the beginning,
// with the same code, and keeps nothing else of it. It is for what holds no
// credential.
func Cut(err error, most int) error {
	text := textOf(err)
	if len(text) <= most {
		return err
	}
	return &failure{code: status.Code(err), text: Clip(text, most)}
}

// Clip is a text, or as many bytes of it as there may be.
func Clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

const (
	// mostTold and mostBytesTold are how many warnings are told of one trigger,
	// and how many bytes one of them has.
	mostTold      = 20
	mostBytesTold = 500
)

// Few are the first of some warnings, and how many more there are. Whoever writes
// a trigger decides how many it has and what they quote.
func Few(warnings []string) []string {
	long := func(text string) bool { return len(text) > mostBytesTold }
	if len(warnings) <= mostTold && !slices.ContainsFunc(warnings, long) {
		return warnings
	}
	few := make([]string, 0, mostTold+1)
	for _, text := range warnings[:min(len(warnings), mostTold)] {
		few = append(few, Clip(text, mostBytesTold))
	}
	if more := len(warnings) - mostTold; more > 0 {
		few = append(few, fmt.Sprintf("and %d more", more))
	}
	return few
}

type list struct {
	errs      []error
	separator string
}

func (l *list) Error() string {
	texts := make([]string, len(l.errs))
	for i, err := range l.errs {
		texts[i] = textOf(err)
	}
	return strings.Join(texts, l.separator)
}

func (l *list) Unwrap() []error { return l.errs }

// textOf is what an error says, without what gRPC puts before the words of a
// status: where it is wrapped, that is noise in the middle of a sentence.
func textOf(err error) string {
	var with interface {
		error
		GRPCStatus() *status.Status
	}
	if !errors.As(err, &with) {
		return err.Error()
	}
	return strings.ReplaceAll(err.Error(), with.Error(), with.GRPCStatus().Message())
}

// failure is an error of which some parts are our own words.
type failure struct {
	code  codes.Code
	text  string
	cause error
	ours  []string // in the order in which they stand in it
}

func (f *failure) Error() string { return f.text }

func (f *failure) Unwrap() error { return f.cause }

// GRPCStatus tells gRPC, and whoever asks as it does, the code.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.Error()) }

var verb = regexp.MustCompile(`%[-+# 0-9.]*(?:\[\d+\])?[a-zA-Z%]`)

// literals are the parts of a format between its verbs.
func literals(format string) []string {
	var parts []string
	for _, part := range verb.Split(format, -1) {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// Mask replaces each secret in text by ***, as it is and as addresses and quotes
// spell it, except in the words that err, which text tells of, says to be ours.
func Mask(text string, err error, secrets []string) string {
	return mask(text, failures(err), secrets)
}

func mask(text string, of []*failure, secrets []string) string {
	if len(of) == 0 {
		for _, secret := range secrets {
			text = maskOne(text, secret)
		}
		return text
	}
	f, deeper := of[0], of[1:]
	before, after, found := strings.Cut(text, f.Error())
	if !found {
		return mask(text, deeper, secrets)
	}
	var masked strings.Builder
	masked.WriteString(mask(before, deeper, secrets))
	rest := f.Error()
	for _, ours := range f.ours {
		quoted, behind, found := strings.Cut(rest, ours)
		if !found { // a verb's own percent sign
			continue
		}
		masked.WriteString(mask(quoted, deeper, secrets))
		masked.WriteString(ours)
		rest = behind
	}
	masked.WriteString(mask(rest, deeper, secrets))
	masked.WriteString(mask(after, deeper, secrets))
	return masked.String()
}

// maskOne makes nothing of a secret that is longer than the text: there may be
// many, and how they are spelt is longer still.
func maskOne(text, secret string) string {
	if len(secret) > len(text) {
		return text
	}
	text = strings.ReplaceAll(text, secret, "***")
	for _, spelling := range []func(string) string{url.QueryEscape, url.PathEscape, quoted} {
		if spelt := spelling(secret); spelt != secret {
			text = strings.ReplaceAll(text, spelt, "***")
		}
	}
	return text
}

// quoted is how a text stands between the signs of %q.
func quoted(text string) string {
	text = strconv.Quote(text)
	return text[1 : len(text)-1]
}

// failures are those in the tree of err, outer ones first.
func failures(err error) []*failure {
	var found []*failure
	if f, ok := err.(*failure); ok { //nolint:errorlint // each is looked at by itself
		found = append(found, f)
	}
	switch wrapped := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		found = append(found, failures(wrapped.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, one := range wrapped.Unwrap() {
			found = append(found, failures(one)...)
		}
	}
	return found
}
