package params

import (
	"fmt"
	"slices"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Problems are all that is wrong with one trigger's parameters, in the order
// in which a user reads them.
type Problems []problem

// problem is one of them.
type problem struct {
	key  string // as the user typed it
	text string // a sentence that starts with the key
	rule bool   // found by Validate: there may be several of one key
}

// Add says what is wrong with key. Reserved keys lose their prefix: the user
// knows them as fields of the trigger.
func (p *Problems) Add(key string, err error) {
	name := strings.TrimPrefix(key, scalerv1.ReservedPrefix)
	text := strings.TrimPrefix(err.Error(), key+": ")
	*p = append(*p, problem{key: name, text: name + ": " + text})
}

// About reports whether something is wrong with key already.
func (p Problems) About(key string) bool {
	return slices.ContainsFunc(p, func(known problem) bool { return known.key == key })
}

// merge adds what Validate found, without what is known: a value that did not
// convert is at its default when Validate looks at it, and the rule of an
// embedded group may be checked twice.
func (p *Problems) merge(err error) {
	for _, text := range flatten(err) {
		key, _, _ := strings.Cut(text, ":")
		known := func(have problem) bool {
			return have.text == text || have.key == key && !have.rule
		}
		if !slices.ContainsFunc(*p, known) {
			*p = append(*p, problem{key: key, text: text, rule: true})
		}
	}
}

// flatten returns the texts of an error made by errors.Join, however nested.
func flatten(err error) []string {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error }) // only what errors.Join made is taken apart
	if !ok {
		return []string{err.Error()}
	}
	var texts, whole []string
	for _, one := range joined.Unwrap() {
		texts = append(texts, flatten(one)...)
		whole = append(whole, one.Error())
	}
	if strings.Join(whole, "\n") != err.Error() { // fmt.Errorf with several %w
		return []string{err.Error()}
	}
	return texts
}

// Err returns one InvalidArgument for all problems, or nil without any. odd are
// sentences about keys that have no effect: one of them may be what was meant
// for what is missing.
func (p Problems) Err(triggerType string, odd ...string) error {
	if len(p) == 0 {
		return nil
	}
	texts := append(p.Texts(), odd...)
	return status.Error(codes.InvalidArgument, fmt.Sprintf("%s: %s", triggerType, strings.Join(texts, "; ")))
}

// Texts are the sentences.
func (p Problems) Texts() []string {
	texts := make([]string, len(p))
	for i, one := range p {
		texts[i] = one.text
	}
	return texts
}
