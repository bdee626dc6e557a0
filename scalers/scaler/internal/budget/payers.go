package budget

import (
	"context"
	"slices"
)

// payers are the namespaces that something is taken for.
type payers struct {
	all  []string // each once
	each []string // of a request for several members, those of each
}

type payersKey struct{}

// Of has shares that are taken with the context count for a namespace.
func Of(ctx context.Context, namespace string) context.Context {
	return context.WithValue(ctx, payersKey{}, payers{all: []string{namespace}})
}

// OfMembers is Of for a request for several members. It counts for one of their
// namespaces, for that which has the least of what is taken.
func OfMembers(ctx context.Context, each []string) context.Context {
	return context.WithValue(ctx, payersKey{}, payers{once(each), each})
}

// OfAll is the context of what is done for all of the members together.
func OfAll(ctx context.Context) context.Context {
	return context.WithValue(ctx, payersKey{}, payers{all: Namespaces(ctx)})
}

// OfSome is the context of what is done with one of OfMembers for some of the members
// alone. With any other it is ctx.
func OfSome(ctx context.Context, places ...int) context.Context {
	of, _ := ctx.Value(payersKey{}).(payers)
	if of.each == nil {
		return ctx
	}
	return OfMembers(ctx, some(of.each, places))
}

func some(of []string, places []int) []string {
	some := make([]string, len(places))
	for i, place := range places {
		some[i] = of[place]
	}
	return some
}

// Namespaces are those that share what is taken with the context, each once and in
// order; "" without any. Where it counts, it does so for one of them: if it did for
// all of them as one, apart from each, who has some namespaces would be as many as
// there are sets of those.
func Namespaces(ctx context.Context) []string {
	if of, _ := ctx.Value(payersKey{}).(payers); len(of.all) > 0 {
		return of.all
	}
	return nobody
}

var nobody = []string{""}

func once(namespaces []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(namespaces)))
}

// InTurns has namespaces take turns in what is done for members of a request one
// after another: each time the first that is left of each. places are the members
// that one is for; what is for several is a turn of whoever has had the fewest.
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
		of := once(some(of.each, places(r)))
		if len(of) == 0 {
			of = nobody
		}
		namespace := slices.MinFunc(of, func(a, b string) int { return count[a] - count[b] })
		order[i] = ranked{r, count[namespace]}
		count[namespace]++
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return a.before - b.before })
	for i, r := range order {
		requests[i] = r.request
	}
}
