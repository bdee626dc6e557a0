package params

import (
	"cmp"
	"regexp"
	"slices"
	"sort"

	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
)

// Ranges are numbers as a user lists them, such as 1,2,5-9. They are kept as
// what is written: "0-2000000000" must not take the memory of everybody.
type Ranges []Range

// Range are the numbers from one to another, both included.
type Range struct{ From, To int64 }

// Has tells whether a number is among them.
func (r Ranges) Has(n int64) bool {
	at := sort.Search(len(r), func(i int) bool { return r[i].To >= n })
	return at < len(r) && r[at].From <= n
}

var rangeText = regexp.MustCompile(`^(0|[1-9][0-9]*)\s*-\s*(0|[1-9][0-9]*)$`)

// parseRanges returns the same for all texts that mean the same numbers.
func parseRanges(text, separator string) (Ranges, error) {
	var all Ranges
	for _, element := range split(text, separator) {
		one, err := parseRange(element)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	joined := all[:1]
	for _, one := range all[1:] {
		last := &joined[len(joined)-1]
		if one.From > last.To+1 {
			joined = append(joined, one)
		} else {
			last.To = max(last.To, one.To)
		}
	}
	return slices.Clip(joined), nil
}

// parseRange reads "5-9", or a number by itself.
func parseRange(element string) (r Range, err error) {
	first, last := element, element
	if ends := rangeText.FindStringSubmatch(element); ends != nil {
		first, last = ends[1], ends[2]
	}
	if r.From, err = scalerv1.ParseInteger(first, 32); err != nil {
		return r, err
	}
	if r.To, err = scalerv1.ParseInteger(last, 32); err != nil {
		return r, err
	}
	if r.From > r.To {
		return r, scalerv1.TextError{Text: element, Reason: "is a range that ends before it begins"}
	}
	return r, nil
}
