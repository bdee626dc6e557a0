// Package fingerprint tells secrets apart without keeping them.
package fingerprint

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// fingerprintKey makes fingerprints worthless outside this process.
var fingerprintKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails, see crypto/rand
	return key
})

// Of is a short hash of secrets, fit to be kept. It cannot be
// turned back and differs between processes.
func Of(secrets ...string) string {
	mac := hmac.New(sha256.New, fingerprintKey())
	for _, secret := range secrets {
		// The length keeps ("ab", "c") apart from ("a", "bc").
		fmt.Fprintf(mac, "%d:%s", len(secret), secret)
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// OfValue is the fingerprint of everything that a value holds and of its type,
// whatever it points to.
func OfValue(value any) string {
	v := reflect.ValueOf(value)
	return Of(fmt.Sprintf("%T", value), Text(v))
}

// Text writes a value so that two values of one type have the same text exactly
// when they hold the same, be it behind pointers or in fields that are not
// exported. Nobody can say that of functions and channels: they are a mistake.
func Text(v reflect.Value) string {
	var text strings.Builder
	write(&text, v)
	return text.String()
}

func write(w io.Writer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Invalid:
		fmt.Fprint(w, "nil")
	case reflect.Pointer:
		write(w, v.Elem())
	case reflect.Interface:
		if !v.IsNil() {
			fmt.Fprint(w, v.Elem().Type())
		}
		write(w, v.Elem())
	case reflect.String:
		fmt.Fprintf(w, "%q", v.String())
	case reflect.Struct:
		for i := range v.NumField() {
			writePart(w, v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			writePart(w, v.Index(i))
		}
		fmt.Fprint(w, "]")
	case reflect.Map:
		var entries []string
		for key, value := range v.Seq2() {
			entries = append(entries, Text(key)+":"+Text(value))
		}
		slices.Sort(entries)
		fmt.Fprintf(w, "%q", entries)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		panic(fmt.Sprintf("a %s cannot be told from another", v.Type()))
	default: // numbers and truths
		fmt.Fprint(w, v)
	}
}

// writePart writes one of several values.
func writePart(w io.Writer, v reflect.Value) {
	write(w, v)
	fmt.Fprint(w, ",")
}
