package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
)

// Anybody who reaches the port may send what looks like a review: without a
// client certificate the API server cannot be told from others. So what all of
// them together can hold is bounded, and nobody's address may hold more than its
// part of it.
const (
	// longestReview is what a review may have, the object and what it was
	// before: as much as the API server stores of one object.
	longestReview = 1 << 20
	// longestRead is more than an API server sends of what it stores. Beyond
	// longestReview nothing of it is kept.
	longestRead = 16 << 20
	// mostValues is how many values the JSON of a review may have. Each becomes
	// many times its own size once it is decoded.
	mostValues = 10_000
	// deepestReview is how deep the JSON may be nested.
	deepestReview = 64
	// mostReviews are read and judged at once, mostOfOne of them from one
	// address, and of those mostJudged for one namespace: one more than may wait.
	mostReviews, mostOfOne = 16, 8
	mostJudged             = mostOfNamespace + 1
	// beginning is how much of a review is read before its turn has come: it says
	// whose it is, but for a long name.
	beginning = 2 << 10
	// bodyTime is how long a review may take to arrive once it is read.
	bodyTime = 2 * time.Second
	// longestWait is how long a review waits for its turn: that long does the
	// API server wait for an answer.
	longestWait = 10 * time.Second
)

// ofPeers lets reviews through to next, in turn and within bounds: those of an address,
// and of an address those of each namespace, which all come from a few API servers. A review that is
// too large is a refusal of its object: nobody passes what would be judged by
// writing more. What is refused otherwise is an error to the API server, which then
// does as failurePolicy says; the controller checks the object again.
func ofPeers(gate *inbound.Entrance, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if problem, code := refusedUnread(r); code != 0 {
			turnAway(w, problem, code)
			return
		}
		namespace, err := namespaceOf(w, r)
		if err != nil {
			turnAway(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), longestWait)
		defer cancel()
		leave, ok := gate.Enter(ctx, inbound.HostOf(r.RemoteAddr), namespace)
		if !ok {
			turnAway(w, "too many reviews at once", http.StatusServiceUnavailable)
			return
		}
		defer leave()
		body, err := readReview(w, r)
		switch {
		case errors.Is(err, errJSON):
			turnAway(w, err.Error(), http.StatusBadRequest)
			return
		case err != nil && body != nil && refuse(w, body, err):
			return
		case err != nil:
			turnAway(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// ofNamespace is what a review says of its namespace, before its object.
var ofNamespace = regexp.MustCompile(`"namespace":"([0-9a-z-]{1,63})"`)

// namespaceOf reads the beginning of a review and finds whose it is, "" for one
// that does not say. The error is that it did not come in time.
func namespaceOf(w http.ResponseWriter, r *http.Request) (string, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTime)) // only what is no connection has none
	begin := make([]byte, beginning)
	n, err := io.ReadFull(r.Body, begin)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", errLate
	}
	_ = connection.SetReadDeadline(time.Now().Add(answerTime))
	begin = begin[:n]
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), r.Body), r.Body}
	found := ofNamespace.FindSubmatch(begin)
	if found == nil {
		return "", nil
	}
	return string(found[1]), nil
}

// whose is how a review of an API server begins, whatever its object.
var whose = regexp.MustCompile(`^\{"kind":"AdmissionReview","apiVersion":"(admission\.k8s\.io/v1)","request":\{"uid":"([0-9A-Za-z-]{1,64})"`)

// refuse answers the review that begins so, and is false for what is none.
func refuse(w http.ResponseWriter, begin []byte, problem error) bool {
	found := whose.FindSubmatch(begin[:min(len(begin), 4<<10)])
	if found == nil {
		return false
	}
	answer, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: string(found[1]), Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{UID: types.UID(found[2]), Result: &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonRequestEntityTooLarge, Code: http.StatusRequestEntityTooLarge,
			Message: problem.Error() + ", the object and what it was before together; one that is too large already can only be deleted",
		}},
	})
	if err != nil {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // who does not read it asks again
	return true
}

// turnAway answers without what is left of the body, and ends the connection:
// else the rest would be waited for.
func turnAway(w http.ResponseWriter, problem string, code int) {
	w.Header().Set("Connection", "close")
	http.Error(w, problem, code)
}

// refusedUnread says what is wrong with a request before anything of its body
// is read.
func refusedUnread(r *http.Request) (problem string, code int) {
	switch {
	case r.Method != http.MethodPost:
		return "a review is posted", http.StatusMethodNotAllowed
	case r.ContentLength > longestRead:
		return errLong.Error(), http.StatusRequestEntityTooLarge
	}
	return "", 0
}
