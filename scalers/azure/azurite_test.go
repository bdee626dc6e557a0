package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/test/servers"
)

// account acts as the owner of a storage account, by its key: the tests put
// there what triggers read.
type account struct {
	testing.TB
	access storageAccess
	client *http.Client
}

func owner(t testing.TB, base string) account {
	return account{t, storageAccess{Base: base, Account: servers.AzuriteAccount, Key: servers.AzuriteKey}, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// do makes a request that has to succeed and returns the text of the answer.
func (a account) do(method, path string, query url.Values, header map[string]string, body string) string {
	a.Helper()
	request, err := http.NewRequestWithContext(within(a), method, a.access.Base+"/"+path+"?"+query.Encode(), strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	request.Header.Set("x-ms-version", storageVersion)
	a.signWithBody(request, len(body))
	answer, err := a.client.Do(request)
	if err != nil {
		a.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	if answer.StatusCode > 299 {
		a.Fatalf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return string(text)
}

// signWithBody signs what the family never sends: a request with a body.
func (a account) signWithBody(request *http.Request, length int) {
	a.Helper()
	if err := a.access.signed(request, length); err != nil {
		a.Fatal(err)
	}
}

// queue makes a queue with messages that wait and others that were received.
func (a account) queue(name string, waiting, received int) {
	a.Helper()
	a.do(http.MethodPut, name, nil, nil, "")
	a.send(name, received)
	for got := 0; got < received; {
		text := a.do(http.MethodGet, name+"/messages", url.Values{"numofmessages": {"32"}, "visibilitytimeout": {"3600"}}, nil, "")
		got += strings.Count(text, "<MessageId>")
	}
	a.send(name, waiting)
}

// send puts messages into a queue.
func (a account) send(queue string, n int) {
	a.Helper()
	for i := range n {
		a.do(http.MethodPost, queue+"/messages", nil, nil, fmt.Sprintf("<QueueMessage><MessageText>%d</MessageText></QueueMessage>", i))
	}
}

// within is a context that ends long after anything here.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// joined is the union of metadata, later ones counting; "" removes.
func joined(all ...map[string]string) map[string]string {
	union := map[string]string{}
	for _, m := range all {
		maps.Copy(union, m)
	}
	maps.DeleteFunc(union, func(_, v string) bool { return v == "" })
	return union
}

// checkError wants a code and the parts of a message, in any order.
func checkError(t testing.TB, trigger string, err error, code codes.Code, message string) {
	t.Helper()
	got := status.Convert(err).Message()
	matches := err == nil && message == "" || message != "" && strings.HasPrefix(got, trigger+": ")
	for part := range strings.SplitSeq(message, "; ") {
		matches = matches && strings.Contains(got, part)
	}
	if status.Code(err) != code || !matches {
		t.Fatalf("error = %v\nwant %v %s", err, code, cmp.Or(message, "none"))
	}
	for _, secret := range []string{servers.AzuriteKey, "hush-hush"} {
		if strings.Contains(got, secret) {
			t.Errorf("a secret is in %v", err)
		}
	}
}

// accountSignature is a shared access signature of the account.
//
// Source: https://learn.microsoft.com/rest/api/storageservices/create-account-sas
func accountSignature(t testing.TB, permissions string, until time.Time) string {
	t.Helper()
	const version, services, types, protocols = "2018-11-09", "bq", "sco", "https,http"
	end := until.UTC().Format("2006-01-02T15:04:05Z")
	key, err := base64.StdEncoding.DecodeString(servers.AzuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join([]string{servers.AzuriteAccount, permissions, services, types, "", end, "", protocols, version, ""}, "\n")))
	return url.Values{
		"sv": {version}, "ss": {services}, "srt": {types}, "sp": {permissions}, "se": {end}, "spr": {protocols},
		"sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}.Encode()
}
