package kube

import (
	"context"
	"errors"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// An API server that does not stream lists is asked for them by pages, of which one
// stands in memory at a time: objects are as large as somebody makes them, and what a
// library makes of one takes several times its text.
const (
	usualPage   = 100     // objects
	mostOfPage  = 4 << 20 // bytes; of pages that have more, fewer objects are asked for
	limitOfPage = "limit" // the parameter
)

var errLargePage = errors.New("a page of a list is too large")

// pages is one at a time.
var pages = make(chan struct{}, 1)

// listed is what is kept of an object of a list.
type listed[V any] struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	kept V
}

// DeepCopyObject implements runtime.Object. Nobody changes what is kept.
func (l *listed[V]) DeepCopyObject() runtime.Object {
	copied := *l
	return &copied
}

// list asks for all pages. What is listed is what keep makes of it.
func list(ctx context.Context, request func(metav1.ListOptions) *rest.Request, options metav1.ListOptions, keep func(any) (any, error)) (runtime.Object, error) {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = "" // which alone has pages
	}
	options.Limit = usualPage
	all := &metav1.List{}
	for {
		next, err := page(ctx, request, options, keep, all)
		switch {
		case errors.Is(err, errLargePage) && options.Limit > 1:
			options.Limit /= 2
			continue
		case err != nil:
			return nil, err
		case next == "":
			return all, nil
		}
		options.Continue, options.ResourceVersion, options.ResourceVersionMatch = next, "", ""
	}
}

// page asks for one page and puts what is kept of it to the others.
func page(ctx context.Context, request func(metav1.ListOptions) *rest.Request, options metav1.ListOptions, keep func(any) (any, error), all *metav1.List) (next string, err error) {
	select {
	case pages <- struct{}{}:
		defer func() { <-pages }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	answer, err := request(options).Do(ctx).Get()
	if err != nil {
		return "", err
	}
	of, err := meta.ListAccessor(answer)
	if err != nil {
		return "", apierrors.NewInternalError(err)
	}
	all.ResourceVersion = of.GetResourceVersion()
	err = meta.EachListItem(answer, func(object runtime.Object) error {
		kept, err := keep(object)
		if one, ok := kept.(runtime.Object); ok && err == nil {
			all.Items = append(all.Items, runtime.RawExtension{Object: one})
		}
		return err
	})
	return of.GetContinue(), err
}

// boundedPages reads no more of a page than may stand in memory.
type boundedPages struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedPages) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(request)
	if err == nil && request.URL.Query().Get(limitOfPage) != "" {
		response.Body = &boundedBody{ReadCloser: response.Body, left: mostOfPage}
	}
	return response, err
}

// boundedBody is an answer that fails beyond some bytes.
type boundedBody struct {
	io.ReadCloser

	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if b.left -= n; b.left < 0 {
		return 0, errLargePage
	}
	return n, err
}
