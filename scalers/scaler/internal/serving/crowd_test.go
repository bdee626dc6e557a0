package serving

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/identity"
	scalerv1 "github.com/sluice-autoscaler/sluice/proto/sluice/scaler/v1"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/pool"
)

// TestCallersWhoNeverSayWho: half of a greeting each, in as many connections as
// anybody likes, is not kept, and the controller is served beside it.
func TestCallersWhoNeverSayWho(t *testing.T) {
	for name, args := range map[string][]string{"the front": nil, "loopback": nil, "plaintext": {"--plaintext"}} {
		t.Run(name, func(t *testing.T) {
			g := guard(t, args...)
			g.haveKey()
			address := g.front
			if name == "loopback" {
				address = g.loopback
			}
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
			var last net.Conn
			for range 200 {
				var err error
				if last, err = dialer.DialContext(t.Context(), "tcp", address); err != nil {
					t.Fatal(err)
				}
				defer last.Close()
				_, _ = last.Write([]byte{22, 3, 1, 0x40}) // some are closed by then
			}
			// It is closed, and long before gRPC would.
			if err := last.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, last); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the 200th connection of an address is kept: %v", err)
			}
			if name == "the front" {
				if err := everyCall(t, g.as(identity.Controller), wellRef("shop")); err != nil {
					t.Errorf("the controller: %v", err)
				}
			}
		})
	}
}

// TestTriggersOfANamespaceAreBounded has the triggers of a namespace say much:
// what is too much is refused, and others are served.
func TestTriggersOfANamespaceAreBounded(t *testing.T) {
	withFamily(t, func(t *testing.T, f *served) {
		f.server.core.asking = pool.NewAllowance("bytes of triggers", 25_000, 0)
		w := f.watch(t)
		defer w.cancel()
		send := func(id, namespace string, junk int) {
			ref := wellRef(namespace)
			ref.ScalerMetadata["junk"] = strings.Repeat("x", junk)
			err := w.stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
				Id: id, Generation: 1, Ref: ref,
			}}})
			if err != nil {
				t.Fatal(err)
			}
			wait(time.Second)
		}
		for n := range 3 {
			send(fmt.Sprint("big-", n), "mallory", 1500)
		}
		send("other", "shop", 1500)
		for id, want := range map[string]codes.Code{"big-0": codes.OK, "big-1": codes.OK, "big-2": codes.ResourceExhausted, "other": codes.OK} {
			if got := w.now().rejected[id].GetStatus().GetCode(); codes.Code(got) != want {
				t.Errorf("%s: %v, want %v", id, w.now().rejected[id], want)
			}
		}
		unsubscribe := &scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Unsubscribe{Unsubscribe: &scalerv1.Unsubscribe{Id: "big-0"}}}
		if err := w.stream.Send(unsubscribe); err != nil {
			t.Fatal(err)
		}
		wait(time.Second)
		send("big-3", "mallory", 1500)
		if got := w.now().rejected["big-3"]; got != nil {
			t.Errorf("there is room again: %v", got)
		}
	})
}

// TestGuestsTogetherAreBounded: what one stream may not have, many may not
// either, however they ask.
func TestGuestsTogetherAreBounded(t *testing.T) {
	g := guard(t)
	g.haveKey()
	g.server.core.guests = pool.NewAllowance("triggers", 10, 0)
	rejected := 0
	for n := range 4 {
		stream, err := scalerv1.NewScalerServiceClient(g.plaintext(g.loopback)).Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			err := stream.Send(&scalerv1.WatchRequest{Request: &scalerv1.WatchRequest_Subscribe{Subscribe: &scalerv1.Subscribe{
				Id: fmt.Sprint(n, "-", i), Generation: 1, Ref: wellRef("shop"),
			}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		for told := map[string]bool{}; len(told) < 5; {
			answer, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if r := answer.GetRejected(); r != nil {
				told[r.GetId()] = true
				if codes.Code(r.GetStatus().GetCode()) == codes.ResourceExhausted {
					rejected++
				}
			}
			if a := answer.GetAccepted(); a != nil {
				told[a.GetId()] = true
			}
		}
	}
	if rejected != 10 {
		t.Errorf("%d of 20 subscriptions of guests are refused, want 10", rejected)
	}
	if err := everyCall(t, g.as(identity.Controller), wellRef("shop")); err != nil {
		t.Errorf("the controller: %v", err)
	}
}
