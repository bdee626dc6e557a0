package credentials

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/validation"
)

// problems are everything that is wrong with a trigger's references, so that a
// user mends all of it at once.
type problems struct{ all []problem }

type problem struct {
	parameter string // that has no value because of it, or ""
	text      string
	code      codes.Code
}

// add notes a problem at a place of the authentication object.
func (p *problems) add(place string, err error) { p.addFor("", place, err) }

// addFor notes why a parameter has no value.
func (p *problems) addFor(parameter, place string, err error) {
	if err == nil {
		return
	}
	text := status.Convert(err).Message()
	if place != "" {
		text = place + ": " + text
	}
	p.all = append(p.all, problem{parameter, text, status.Code(err)})
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
	code := p.all[0].code
	texts := make([]string, len(p.all))
	for i, each := range p.all {
		texts[i] = each.text
		if transient(code) && !transient(each.code) {
			code = each.code
		}
	}
	text := strings.Join(texts, "; ")
	if about != "" {
		text = about + ": " + text
	}
	return status.Error(code, text)
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// checkName refuses what is not the name of one object: whoever could write a
// path into one would reach other objects.
func checkName(kind, name string) error {
	switch {
	case name == "":
		return invalid("the name of the %s is empty", kind)
	case strings.Contains(name, "/"):
		return invalid("%q is not the name of a %s: those of other namespaces cannot be used", name, kind)
	case len(validation.IsDNS1123Subdomain(name)) > 0:
		return invalid("%q is not the name of a %s", name, kind)
	}
	return nil
}

// place names an item of a list in the spec with the parameter that it sets.
func place(field string, index int, parameter string) string {
	return fmt.Sprintf("%s[%d] (%s)", field, index, parameter)
}
