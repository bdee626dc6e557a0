package credentials

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// problems are everything that is wrong with a trigger's references, so that a
// user mends all of it at once.
type problems struct{ all []problem }

type problem struct {
	parameter string // that has no value because of it, or ""
	err       error  // nil beyond mostProblems
}

const (
	// mostProblems are how many are told, mostText how many bytes of each: more
	// than reaches the user.
	mostProblems = 20
	mostText     = 1000
	// mostName is how long the name of anything is that can be referred to.
	mostName = validation.DNS1123SubdomainMaxLength
)

// add notes a problem at a place of the authentication object.
func (p *problems) add(place string, err error) { p.addFor("", place, err) }

// addFor notes why a parameter has no value.
func (p *problems) addFor(parameter, place string, err error) {
	if err == nil {
		return
	}
	if place != "" {
		err = words.Errorf(status.Code(err), "%s: %w", place, err)
	}
	if len(p.all) >= mostProblems {
		err = nil // it counts
	} else {
		err = words.Cut(err, mostText)
	}
	p.all = append(p.all, problem{parameter, err})
}

// settle forgets why a parameter had no value: it has one from a place that
// counts more.
func (p *problems) settle(parameter string) {
	p.all = slices.DeleteFunc(p.all, func(each problem) bool { return each.parameter == parameter && parameter != "" })
}

// err is nil without problems. The first definite code stands for all: what may
// pass by itself says least.
func (p *problems) err(about string) error {
	if len(p.all) == 0 {
		return nil
	}
	code, more := codes.Unavailable, 0
	var errs []error
	for _, each := range p.all {
		if each.err == nil {
			more++
			continue
		}
		if one := status.Code(each.err); len(errs) == 0 || transient(code) && !transient(one) {
			code = one
		}
		errs = append(errs, each.err)
	}
	if more > 0 {
		errs = append(errs, words.Errorf(code, "and %d more", more))
	}
	joined := words.Join(code, "; ", errs)
	if about == "" {
		return joined
	}
	return words.Errorf(code, "%s: %w", about, joined)
}

func invalid(format string, args ...any) error {
	return words.Errorf(codes.InvalidArgument, format, args...)
}

// checkName refuses what is not the name of one object: whoever could write a
// path into one would reach other objects.
func checkName(kind, name string) error {
	switch {
	case name == "":
		return invalid("the name of the %s is empty", kind)
	case len(name) > mostName:
		return tooLong("the name of the "+kind, name)
	case strings.Contains(name, "/"):
		return invalid("%q is not the name of a %s: those of other namespaces cannot be used", name, kind)
	case len(validation.IsDNS1123Subdomain(name)) > 0:
		return invalid("%q is not the name of a %s", name, kind)
	}
	return nil
}

// tooLong refuses what nothing is called, and does not repeat it.
func tooLong(what, name string) error {
	return invalid("%s has %d bytes, and no name has more than %d", what, len(name), mostName)
}

// place names an item of a list in the spec with the parameter that it sets.
func place(field string, index int, parameter string) string {
	return fmt.Sprintf("%s[%d] (%s)", field, index, words.Clip(parameter, 60))
}
