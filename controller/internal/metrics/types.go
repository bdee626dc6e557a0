package metrics

// typeCounts counts triggers by type. Whoever writes a trigger names its type,
// also one that nobody serves.
type typeCounts map[string]*typesOfOne

// typesOfOne are those of one namespace.
type typesOfOne struct {
	named map[string]float64
	other float64
}

// mostTypesOfOne is how many types of one namespace are told by name, mostTypes of
// all of them.
const mostTypesOfOne, mostTypes = 100, 1000

// otherTypes is what types are called that are too many.
const otherTypes = "other"

func (t typeCounts) add(namespace, name string) {
	of := t[namespace]
	if of == nil {
		of = &typesOfOne{named: map[string]float64{}}
		t[namespace] = of
	}
	if _, there := of.named[name]; !there && len(of.named) >= mostTypesOfOne {
		of.other++
		return
	}
	of.named[name]++
}

// named are the triggers of all namespaces by type.
func (t typeCounts) named() map[string]float64 {
	all := map[string]float64{}
	for _, of := range t {
		if of.other > 0 {
			all[otherTypes] += of.other
		}
		for name, n := range of.named {
			if _, there := all[name]; !there && len(all) >= mostTypes {
				name = otherTypes
			}
			all[name] += n
		}
	}
	return all
}
