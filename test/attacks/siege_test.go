package attacks

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// siege is a trigger of a tenant who also runs the server that it asks.
type siege struct {
	trigger string
	// metadata of the trigger, and its parameters from authentication. ADDRESS,
	// HOST and PORT in them are the server's.
	metadata, secret map[string]string
	// unasked is set where the trigger is refused before its server is asked.
	unasked bool
	lie
}

// lie is what a server does with each of its connections.
type lie struct {
	answer func(net.Conn)
	// says is part of what the object says of it; "" where that may be anything.
	says string
}

// together is how many sieges one object has: each costs the cluster a target
// and an HPA, which are not what is attacked.
const together = 8

// besiege has a family ask servers that lie, all at once. None of the objects
// is ever scaled, and nobody else's notices.
func besiege(t *testing.T, family string, sieges map[string]siege) {
	t.Helper()
	others := standBy(t, family, neighbour(family))
	enemy := tenant(t)
	enemy.grant(family)
	names := slices.Sorted(maps.Keys(sieges))
	type laid struct {
		scaled
		names []string
	}
	var all []laid
	liars := map[string]*server{}
	for len(names) > 0 {
		n := 1
		// What is refused as it stands hides what is wrong with others.
		for n < min(together, len(names)) && !sieges[names[0]].unasked && !sieges[names[n]].unasked {
			n++
		}
		var triggers []trigger
		for _, name := range names[:n] {
			liars[name] = listenAnd(t, sieges[name].answer)
			triggers = append(triggers, enemy.besiege(strings.ReplaceAll(name, " ", "-"), sieges[name], liars[name]))
		}
		all = append(all, laid{enemy.scale(fmt.Sprint("siege-", len(all)), nil, triggers...), names[:n]})
		names = names[n:]
	}
	others.goOn()
	for _, object := range all {
		for i, name := range object.names {
			if !sieges[name].unasked {
				liars[name].waitAsked(t)
			}
			t.Logf("%s:", name)
			object.waitTrigger(i, sieges[name].says)
		}
		if n := object.replicas(); n != 0 {
			t.Errorf("%d replicas: %s", n, object.status("ScaledObject", object.name))
		}
	}
	others.goOn()
	unharmed(t)
}

// neighbour is a family beside one.
func neighbour(family string) string {
	if family == "http" {
		return "redis"
	}
	return "http"
}

// besiege is the trigger of a siege, with the authentication that it needs.
func (h house) besiege(name string, s siege, liar *server) trigger {
	h.t.Helper()
	host, port, _ := net.SplitHostPort(liar.address())
	place := strings.NewReplacer("ADDRESS", liar.address(), "HOST", host, "PORT", port)
	t := triggerOf(s.trigger, placed(s.metadata, place))
	if s.secret != nil {
		h.authentication(name, placed(s.secret, place))
		t = t.with(name)
	}
	return t
}

func placed(values map[string]string, place *strings.Replacer) map[string]string {
	values = maps.Clone(values)
	for key, value := range values {
		values[key] = place.Replace(value)
	}
	return values
}

// say answers each request with the next of the texts, and the last with no
// end of it, or until enough was sent.
func say(answers ...string) func(net.Conn) {
	return func(conn net.Conn) {
		last := len(answers) - 1
		for _, answer := range answers[:last] {
			if !say1(conn, answer) {
				return
			}
		}
		flood("", answers[last], gib)(conn)
	}
}

// says answers each request with the next of the texts, and then with nothing.
func says(answers ...string) func(net.Conn) {
	return func(conn net.Conn) {
		for _, answer := range answers {
			if !say1(conn, answer) {
				return
			}
		}
		for say1(conn, "") {
			continue
		}
	}
}

func say1(conn net.Conn, answer string) bool {
	_, err := conn.Read(make([]byte, 64<<10))
	if err == nil && answer != "" {
		_, err = conn.Write([]byte(answer))
	}
	return err == nil
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

// bomb is an answer whose body is small and unpacks to no end of the text.
func bomb(text string) func(net.Conn) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write(bytes.Repeat([]byte(text), (16<<20)/len(text))) // into memory
	_ = w.Close()
	body := bytes.Repeat(packed.Bytes(), gib/(16<<20)) // members of one file
	return says(fmt.Sprintf("%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", ok, len(body), body))
}

// page answers with a document.
func page(text string) func(net.Conn) {
	return says(fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", ok, len(text), text))
}

// webLies are answers that everybody who speaks HTTP may get.
var webLies = sync.OnceValue(func() map[string]lie {
	redirect := func(status, location string) func(net.Conn) {
		return says("HTTP/1.1 " + status + "\r\nLocation: " + location + "\r\nContent-Length: 0\r\n\r\n")
	}
	const metadata, itself = "a link-local address or a cloud's metadata service", "an address of the machine itself"
	lies := map[string]lie{
		"metadata": {redirect("302 Found", "http://169.254.169.254/latest/meta-data/"), metadata},
		"post":     {redirect("307 Temporary Redirect", "http://169.254.169.254/latest/meta-data/"), metadata},
		"google":   {redirect("301 Moved Permanently", "http://metadata.google.internal/"), metadata},
		"itself":   {redirect("302 Found", "http://127.0.0.1:8080/metrics"), itself},
		"anywhere": {redirect("308 Permanent Redirect", "http://0.0.0.0:8080/metrics"), itself},
		"file":     {redirect("302 Found", "file:///var/run/secrets/kubernetes.io/serviceaccount/token"), ""},
		"loop":     {redirect("302 Found", "/"), ""},
	}
	for name, answer := range map[string]func(net.Conn){
		"body":        flood(ok+"\r\n", `{"value": 1} `, gib),
		"header":      flood(ok, "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", gib),
		"status line": flood("HTTP/1.1 200 ", "x", gib),
		"hints":       flood("", "HTTP/1.1 103 Early Hints\r\n\r\n", gib),
		"chunks":      flood(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\n[\r\n", gib),
		"trailer":     flood(ok+"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\n1\r\n0\r\n", "X: xxxxxxxxxxxxxxx\r\n", gib),
		"error":       flood("HTTP/1.1 500 Oops\r\n\r\n", "x", gib),
		"gzip":        bomb("1"),
		"gzip depth":  bomb("["),
		"gzip keys":   bomb(`{"a":`),
		"depth":       page(strings.Repeat("[", 8<<20)),
		"objects":     page(strings.Repeat(`{"data":`, 1<<20)),
		"half":        page(`{"value": `),
		"silence":     says(ok + "Content-Length: 1000\r\n\r\n"),
	} {
		lies[name] = lie{answer: answer}
	}
	return lies
})
