package kept

import (
	"math/bits"
	"reflect"
	"time"
)

// Size is about what a value takes in memory, with all that it leads to. What two
// of its parts share counts twice.
func Size(value any) int {
	v := reflect.ValueOf(value)
	if !v.IsValid() {
		return 0
	}
	return int(v.Type().Size()) + beside(v)
}

// Maps have groups of slots, of which one of eight is free at least.
const (
	costOfMap  = 48
	leastSlots = 8
)

var moment = reflect.TypeFor[time.Time]()

// beside is what a value leads to.
func beside(v reflect.Value) (bytes int) {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() || v.Elem().Type() == moment {
			return 0
		}
		return int(v.Elem().Type().Size()) + beside(v.Elem())
	case reflect.Slice:
		bytes = v.Cap() * int(v.Type().Elem().Size())
		if flat(v.Type().Elem()) {
			return bytes
		}
		for i := range v.Len() {
			bytes += beside(v.Index(i))
		}
	case reflect.Array:
		if flat(v.Type().Elem()) {
			return 0
		}
		for i := range v.Len() {
			bytes += beside(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			return 0
		}
		slots := max(leastSlots, 1<<bits.Len(uint(v.Len()+v.Len()/7)))
		bytes = costOfMap
		if v.Len() == 0 {
			return bytes
		}
		bytes += slots * (1 + int(v.Type().Key().Size()+v.Type().Elem().Size()))
		for each := v.MapRange(); each.Next(); {
			bytes += beside(each.Key()) + beside(each.Value())
		}
	case reflect.Struct:
		if v.Type() == moment { // its zone is everybody's
			return 0
		}
		for i := range v.NumField() {
			bytes += beside(v.Field(i))
		}
	default: // leads nowhere
	}
	return bytes
}

// flat reports whether values of a type lead nowhere.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		return false
	default:
		return true
	}
}
