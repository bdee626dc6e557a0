package budget

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// payers are the namespaces that something is taken for.
type payers struct {
	all  string
	each []string // of a request for several members, those of each
}

type payersKey struct{}

// Of has shares that are taken with the context count for a namespace, or for
// several, see Together.
func Of(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, payersKey{}, payers{all: namespace})
}

// OfMembers is Of for a request for several members, all together.
func OfMembers(ctx context.Context, each []string) context.Context {
	return context.WithValue(ctx, payersKey{}, payers{Together(each...), each})
}

// OfSome is the context of what is done with one of OfMembers for some of the members
// alone. With any other it is ctx.
func OfSome(ctx context.Context, places ...int) context.Context {
	of, _ := ctx.Value(payersKey{}).(payers)
	if of.each == nil {
		return ctx
	}
	some := make([]string, len(places))
	for i, place := range places {
		some[i] = of.each[place]
	}
	return OfMembers(ctx, some)
}

// Namespace is that of Of, "" without one.
func Namespace(ctx context.Context) string {
	of, _ := ctx.Value(payersKey{}).(payers)
	return of.all
}

// Together are several as one, apart from each of them: nobody pays for what others
// ask along.
func Together(namespaces ...string) string {
	if len(namespaces) == 0 {
		return ""
	}
	one := namespaces[0]
	if !slices.ContainsFunc(namespaces, func(other string) bool { return other != one }) {
		return one
	}
	all := map[string]struct{}{}
	for _, several := range namespaces {
		for namespace := range strings.SplitSeq(several, ",") {
			all[namespace] = struct{}{}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ",")
}

// InTurns has namespaces take turns in what is done for members of a request one
// after another: each time the first that is left of each. places are the members
// that one is for.
func InTurns[R any](ctx context.Context, requests []R, places func(R) []int) {
	of, _ := ctx.Value(payersKey{}).(payers)
	if of.each == nil {
		return
	}
	type ranked struct {
		request R
		before  int // of the same namespaces
	}
	order, count := make([]ranked, len(requests)), map[string]int{}
	for i, r := range requests {
		namespace := Namespace(OfSome(ctx, places(r)...))
		order[i] = ranked{r, count[namespace]}
		count[namespace]++
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return a.before - b.before })
	for i, r := range order {
		requests[i] = r.request
	}
}
