// Package params makes values of a params struct out of what a trigger's request
// carries, and says all that is wrong with it. It does no I/O.
//
// A parameter is a field with the tag `param:"key"`, or `param:"key,required"`.
// Each further fact has a tag of its own:
//
//	alias:"a,b"          other spellings of the key
//	from:"trigger,env"   where it may come from, first match wins: trigger,
//	                     env, auth; trigger alone when absent
//	default:"5"          the value when the parameter is absent
//	without:"a"          it is required where that parameter is not given
//	role:"target"        or "activation": what it is to the autoscaler
//	enum:"a,b"           every accepted value (of each element of a list)
//	unit:"messages"      of a number
//	separator:";"        of a list or map, a comma when absent
//	values:"any"         of a map: values may hold "=", keys never do
//	exclusive:"a,b"      elements of a list of which only one may occur
//	removed:"use x"      giving it is an error that says what to do instead
//	deprecated:"use x"   giving it is a warning
//	question:"false"     it does not change what is read; "true" for a
//	                     parameter with a role that does
//	secret:"true"        never shown, even where it comes from the metadata
//	binary:"true"        the authentication may give it any bytes; they are not
//	                     trimmed. All others are text
//	long:"true"          a text that may be longer than 4 KiB, since no name and no
//	                     address is made of it; secret and binary ones, lists and
//	                     maps are, and what comes from the authentication alone
//	together:"host"      keys that mean the same thing: where a
//	                     ClusterTriggerAuthentication gives one of them, an
//	                     object cannot give this one
//	once:"true"          giving it in two places is an error; else the first
//	                     place wins
//
// Groups of parameters are embedded structs. An embedded Object and
// PodIdentity are filled in.
package params

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/contract"
)

// Plan is a params struct understood once, when its trigger type is defined.
type Plan struct {
	fields     []*field
	groups     []group // embedded structs with rules or documentation, and the struct itself last
	object     []int   // where the Object is, or nil
	asksObject string  // what of the Object is part of the question: a value of its tag
	identity   []int   // where the PodIdentity is, or nil
	asksID     bool    // the PodIdentity is part of the question
}

// group is a struct of parameters within a params struct.
type group struct {
	index []int // empty for the params struct itself
	typ   reflect.Type
}

// field is one parameter.
type field struct {
	index []int // path from the params struct
	group reflect.Type
	goName,
	name string
	aliases    []string
	required   bool
	without    string // the parameter that stands for it, or ""
	sources    []scalerv1.ValueSource
	def        string
	hasDefault bool
	role       scalerv1.ParameterRole
	enum       []string
	unit       string
	exclusive  []string
	together   []string
	removed    string
	deprecated string
	question   bool
	secret     bool
	binary     bool
	once       bool
	long       bool
	optional   bool // a pointer: nil when absent
	value      valueType
}

// keys are all spellings of the parameter.
func (f *field) keys() []string { return append([]string{f.name}, f.aliases...) }

// from reports whether the parameter may come from source.
func (f *field) from(source scalerv1.ValueSource) bool { return slices.Contains(f.sources, source) }

// knownTags are the tags of a parameter, to find misspelt ones.
var knownTags = []string{
	"param", "alias", "from", "default", "role", "enum", "unit", "separator", "values",
	"exclusive", "removed", "deprecated", "question", "secret", "binary", "once", "together", "without", "long",
}

// tagKey finds the keys of a struct tag.
var tagKey = regexp.MustCompile(`(\w+):"(?:[^"\\]|\\.)*"`)

var (
	objectType   = reflect.TypeFor[contract.Object]()
	identityType = reflect.TypeFor[contract.PodIdentity]()
)

// Of understands a params struct. It panics where the struct's tags make
// no sense: that is a mistake of who wrote it, and any test finds it.
func Of(params reflect.Type) *Plan {
	if params.Kind() != reflect.Struct {
		panic(fmt.Sprintf("%s: params are a struct", params))
	}
	p := &Plan{}
	p.walk(params, nil)
	p.checkKeys(params)
	return p
}

func (p *Plan) walk(typ reflect.Type, path []int) {
	for i := range typ.NumField() {
		sf := typ.Field(i)
		index := append(slices.Clone(path), i)
		switch {
		case sf.Anonymous && sf.Type == objectType:
			p.object, p.asksObject = index, sf.Tag.Get("question")
		case sf.Anonymous && sf.Type == identityType:
			p.identity, p.asksID = index, sf.Tag.Get("question") != "false"
		case sf.Anonymous && sf.Type.Kind() == reflect.Struct:
			p.walk(sf.Type, index)
		case sf.Tag.Get("param") != "":
			p.fields = append(p.fields, fieldOf(typ, sf, index))
		}
	}
	p.groups = append(p.groups, group{index: path, typ: typ})
}

func (p *Plan) checkKeys(params reflect.Type) {
	seen := map[string]bool{}
	for _, f := range p.fields {
		for _, key := range f.keys() {
			if seen[key] {
				panic(fmt.Sprintf("%s: parameter %s is there twice", params, key))
			}
			seen[key] = true
		}
	}
	for _, f := range p.fields {
		if f.without != "" && p.named(f.without) == nil {
			panic(fmt.Sprintf("%s: parameter %s is without %s, which is none", params, f.name, f.without))
		}
	}
}

// named is the parameter with a name, or nil.
func (p *Plan) named(name string) *field {
	if i := slices.IndexFunc(p.fields, func(f *field) bool { return f.name == name }); i >= 0 {
		return p.fields[i]
	}
	return nil
}

// OfObject is true when the object is part of the question.
func (p *Plan) OfObject() bool { return p.asksObject != "" }

// fieldOf understands the tags of one parameter.
func fieldOf(owner reflect.Type, sf reflect.StructField, index []int) *field {
	fail := func(format string, args ...any) {
		panic(fmt.Sprintf("%s.%s: %s", owner, sf.Name, fmt.Sprintf(format, args...)))
	}
	if !sf.IsExported() {
		fail("a parameter is an exported field")
	}
	for _, found := range tagKey.FindAllStringSubmatch(string(sf.Tag), -1) {
		if !slices.Contains(knownTags, found[1]) {
			fail("unknown tag %s", found[1])
		}
	}
	f := &field{index: index, group: owner, goName: sf.Name}
	f.readName(sf.Tag.Get("param"), fail)
	f.aliases = elements(sf.Tag.Get("alias"))
	f.enum = elements(sf.Tag.Get("enum"))
	f.exclusive = elements(sf.Tag.Get("exclusive"))
	f.together = elements(sf.Tag.Get("together"))
	f.without = sf.Tag.Get("without")
	f.unit = sf.Tag.Get("unit")
	f.removed, f.deprecated = sf.Tag.Get("removed"), sf.Tag.Get("deprecated")
	f.readSources(sf.Tag.Get("from"), fail)
	f.readRole(sf.Tag.Get("role"), fail)
	f.question = boolTag(sf.Tag, "question", f.role == scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED, fail)
	f.secret = boolTag(sf.Tag, "secret", false, fail)
	f.binary = boolTag(sf.Tag, "binary", false, fail)
	f.once = boolTag(sf.Tag, "once", false, fail)

	typ := sf.Type
	if typ.Kind() == reflect.Pointer {
		f.optional, typ = true, typ.Elem()
	}
	syntax := syntax{
		separator: sf.Tag.Get("separator"),
		anyValue:  sf.Tag.Get("values") == "any",
	}
	if syntax.separator == "" {
		syntax.separator = ","
	}
	value, ok := valueTypeOf(typ, syntax)
	if !ok {
		fail("type %s cannot be a parameter", sf.Type)
	}
	f.value = value
	f.long = boolTag(sf.Tag, "long", f.secret || f.binary || value.kind != scalerv1.ValueType_VALUE_TYPE_STRING || !f.from(scalerv1.ValueSource_VALUE_SOURCE_TRIGGER), fail)
	f.readDefault(sf.Tag, fail)
	if f.role != scalerv1.ParameterRole_PARAMETER_ROLE_UNSPECIFIED && !isInt(typ.Kind()) && typ.Kind() != reflect.Float64 {
		fail("role is for numbers")
	}
	if f.without != "" && (f.required || f.hasDefault) {
		fail("without is for a parameter that may be absent")
	}
	if len(f.exclusive) > 0 && f.value.kind != scalerv1.ValueType_VALUE_TYPE_STRING_LIST {
		fail("exclusive is for lists")
	}
	return f
}

func (f *field) readName(tag string, fail func(string, ...any)) {
	name, flag, flagged := strings.Cut(tag, ",")
	if name == "" || flagged && flag != "required" {
		fail("param is %q, not a key or a key and \",required\"", tag)
	}
	f.name, f.required = name, flagged
}

// sourceTags are the words of the tag from.
var sourceTags = map[string]scalerv1.ValueSource{
	"trigger": scalerv1.ValueSource_VALUE_SOURCE_TRIGGER,
	"env":     scalerv1.ValueSource_VALUE_SOURCE_ENV,
	"auth":    scalerv1.ValueSource_VALUE_SOURCE_AUTHENTICATION,
}

func (f *field) readSources(tag string, fail func(string, ...any)) {
	if tag == "" {
		tag = "trigger"
	}
	for _, word := range elements(tag) {
		source, known := sourceTags[word]
		if !known || f.from(source) {
			fail("from is %q, not a list of trigger, env, auth", tag)
		}
		f.sources = append(f.sources, source)
	}
}

func (f *field) readRole(tag string, fail func(string, ...any)) {
	switch tag {
	case "":
	case "target":
		f.role = scalerv1.ParameterRole_PARAMETER_ROLE_TARGET
	case "activation":
		f.role = scalerv1.ParameterRole_PARAMETER_ROLE_ACTIVATION
	default:
		fail("role is %q, not target or activation", tag)
	}
}

func (f *field) readDefault(tag reflect.StructTag, fail func(string, ...any)) {
	f.def, f.hasDefault = tag.Lookup("default")
	f.hasDefault = f.hasDefault && f.def != "" // default:"" is what absence gives anyway
	if !f.hasDefault {
		return
	}
	if f.required {
		fail("a required parameter has no default")
	}
	if _, err := f.convert(f.def); err != nil {
		fail("default: %v", err)
	}
}

func boolTag(tag reflect.StructTag, key string, absent bool, fail func(string, ...any)) bool {
	switch text := tag.Get(key); text {
	case "":
		return absent
	case "true":
		return true
	case "false":
		return false
	default:
		fail("%s is %q, not true or false", key, text)
		return false
	}
}

// elements splits a list in a tag.
func elements(tag string) []string {
	if tag == "" {
		return nil
	}
	return split(tag, ",")
}
