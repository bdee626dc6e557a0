package kube

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/sluice-autoscaler/sluice/identity/inbound"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/internal/words"
)

// Kind is one kind of objects, O, and what a family keeps of each, V.
type Kind[O Object, V any] struct {
	Group    schema.GroupVersion
	Resource string // plural, as in RBAC rules
	// Role is the ClusterRole that lets a family watch the kind, for the text
	// of an error.
	Role string
	// Keep takes what is needed of an object and nothing else of it.
	Keep func(O) V
	// Size is how many bytes of texts are kept of an object.
	Size func(V) int
}

// watched bounds how much memory is taken by what is kept of all objects: who may
// edit a namespace decides how many there are, and how large.
var watched = client.NewAllowance("bytes of watched objects", 32<<20, 96<<20)

// perObject and perText are what an object, and each text of it, take beside the
// texts themselves.
const (
	perObject = 256
	perText   = 48
)

// SizeOf is a Size for texts by their names.
func SizeOf(texts map[string]string) (bytes int) {
	for name, text := range texts {
		bytes += perText + len(name) + len(text)
	}
	return bytes
}

// Object is a pointer to an API type.
type Object interface {
	runtime.Object
	metav1.Object
}

// Selection says which objects of a kind to see.
type Selection struct {
	Namespace string
	Name      string // of one object; empty for all
	Labels    string // a label selector; empty for all
}

// View is what the API server says of the selected objects, kept up to date by
// a watch.
type View[V any] struct {
	what   target
	cancel context.CancelFunc
	ended  chan struct{}
	held   *client.Holding // of watched

	mu        sync.RWMutex
	objects   map[string]V  // by name; nil until they were listed
	bytes     int           // that they take
	relist    func()        // has them listed anew
	listing   int           // bytes of the list under way
	excess    error         // why that is refused, or nil
	err       error         // why objects may be out of date by now, or nil
	news      chan struct{} // closed and renewed when objects or err changed
	listeners map[*listener[V]]struct{}
}

// target is what a view is of, as errors name it.
type target struct {
	Selection
	resource, role string
}

// reads are those of objects by their names, in all and of one namespace: whoever may
// edit it decides how large they are.
var reads = inbound.NewGate(4, 2)

// Reader reads one object by its name, now. It is for kinds that nobody may list
// and watch, such as Secrets.
type Reader[V any] struct {
	what   target
	client *rest.RESTClient
	read   func(runtime.Object) (V, bool)
}

// Read returns what is kept of the object, and whether there is one.
func (r *Reader[V]) Read(ctx context.Context) (object V, exists bool, err error) {
	leave, ok := reads.Enter(ctx, r.what.Namespace)
	if !ok {
		return object, false, r.what.failure(ctx.Err())
	}
	defer leave()
	answer, err := r.client.Get().Namespace(r.what.Namespace).Resource(r.what.resource).Name(r.what.Name).Do(ctx).Get()
	switch {
	case apierrors.IsNotFound(err):
		return object, false, nil
	case err != nil:
		return object, false, r.what.failure(err)
	}
	object, exists = r.read(answer)
	return object, exists, nil
}

// Part says that the connection is that of all readers.
func (r *Reader[V]) Part() {}

// ByName returns the reader that all sources share which read the same object.
// It is called from Open with Open's ctx and asks nothing yet.
func (k Kind[O, V]) ByName(ctx context.Context, namespace, name string) (*Reader[V], error) {
	c, what, err := k.locate(ctx, Selection{Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{c.config.Host, what}, func(context.Context) (*Reader[V], error) {
		client, err := c.client(k.Group)
		return &Reader[V]{what: what, client: client, read: func(object runtime.Object) (kept V, ok bool) {
			typed, ok := object.(O)
			if ok {
				kept = k.Keep(typed)
			}
			return kept, ok
		}}, err
	})
}

// locate connects to the API server and names what is asked of it.
func (k Kind[O, V]) locate(ctx context.Context, selection Selection) (*cluster, target, error) {
	if selection.Namespace == "" {
		return nil, target{}, words.Errorf(codes.InvalidArgument, "the request names no namespace")
	}
	c, err := connect(ctx)
	return c, target{Selection: selection, resource: k.Resource, role: k.Role}, err
}

// Watch returns the view that all sources share which select the same objects
// of the Kind. It is called from Open with Open's ctx and returns at once: a
// server that does not answer is the error of a read.
func (k Kind[O, V]) Watch(ctx context.Context, selection Selection) (*View[V], error) {
	c, what, err := k.locate(ctx, selection)
	if err != nil {
		return nil, err
	}
	return client.Shared(ctx, []any{c.config.Host, what}, func(ctx context.Context) (*View[V], error) {
		client, err := c.client(k.Group)
		if err != nil {
			return nil, err
		}
		return k.start(ctx, client, what), nil
	})
}

// retry is how a watch that ended is begun again. A permission that was granted
// and a server that came back are noticed within some seconds.
var retry = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 20, Cap: 10 * time.Second}

// start runs the watch until the view is closed, which may be long after ctx.
func (k Kind[O, V]) start(ctx context.Context, client *rest.RESTClient, what target) *View[V] {
	// What a reflector logs of failures is the error of a read here.
	ctx, cancel := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logr.Discard()))
	v := &View[V]{
		what: what, cancel: cancel,
		ended: make(chan struct{}), news: make(chan struct{}), held: watched.Of(ctx),
		listeners: map[*listener[V]]struct{}{},
	}
	go func() {
		defer close(v.ended)
		for ctx.Err() == nil {
			k.run(ctx, client, v)
		}
	}()
	return v
}

// run lists and watches until ctx ends or the objects are to be listed anew.
func (k Kind[O, V]) run(ctx context.Context, client *rest.RESTClient, v *View[V]) {
	ctx, relist := context.WithCancel(ctx)
	defer relist()
	v.mu.Lock()
	v.relist = relist
	v.mu.Unlock()
	var none O
	backoff := retry
	of := store[O, V]{view: v, kind: k}
	keep := func() func(any) (any, error) {
		v.beginList()
		return of.Transformer()
	}
	asking := &watches{}
	defer asking.next(nil)
	cache.NewReflectorWithOptions(v.listWatch(client, keep, asking), none, of,
		cache.ReflectorOptions{Name: "view", Backoff: &backoff}).RunWithContext(ctx)
}

// Close ends the watch.
func (v *View[V]) Close() error {
	v.cancel()
	<-v.ended
	return v.held.Set(0)
}

// watches are those of one view, one after another. The library forgets to end one
// whose list is refused.
type watches struct {
	mu   sync.Mutex // a list may end after who asked for it
	last watch.Interface
}

// next ends the last one.
func (w *watches) next(next watch.Interface) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last != nil {
		w.last.Stop()
	}
	w.last = next
}

// listWatch asks the API server, and notes whether it answers. keep begins a list.
func (v *View[V]) listWatch(client *rest.RESTClient, keep func() func(any) (any, error), asking *watches) *cache.ListWatch {
	request := func(options metav1.ListOptions) *rest.Request {
		options.LabelSelector = v.what.Labels
		if v.what.Name != "" {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, v.what.Name).String()
		}
		return client.Get().Namespace(v.what.Namespace).Resource(v.what.resource).
			VersionedParams(&options, metav1.ParameterCodec)
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			asking.next(nil)
			all, err := list(ctx, request, options, keep())
			if err != nil {
				v.broken(ctx, err)
			}
			return all, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.Watch = true
			if options.SendInitialEvents != nil && *options.SendInitialEvents {
				v.beginList()
			}
			asking.next(nil)
			events, err := request(options).Watch(ctx)
			v.broken(ctx, err)
			if err == nil {
				asking.next(events)
			}
			return events, err
		},
	}
}

// broken notes how asking the API server went: without a watch that stands,
// what is known grows old.
func (v *View[V]) broken(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	v.change(func() { v.err = err })
}

// change applies a change and wakes who waits for one.
func (v *View[V]) change(apply func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	apply()
	close(v.news)
	v.news = make(chan struct{})
}

// Visit calls visit for each object, by its name, once the objects are known.
// When they cannot be known now it visits none and returns why: an old answer is
// no answer. visit returns soon and calls nothing of the view. How many objects
// there are, and what each is held against, tenants decide: it takes a turn.
func (v *View[V]) Visit(ctx context.Context, visit func(name string, object V)) error {
	if err := v.known(ctx); err != nil {
		return err
	}
	var turn client.Turn
	defer turn.Rest()
	if err := turn.Work(ctx); err != nil {
		return err
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	for name, object := range v.objects {
		visit(name, object)
	}
	return nil
}

// known waits until the objects were listed, or cannot be.
func (v *View[V]) known(ctx context.Context) error {
	for {
		v.mu.RLock()
		err, listed, news := v.err, v.objects != nil, v.news
		v.mu.RUnlock()
		switch {
		case err != nil:
			return v.what.failure(err)
		case listed:
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return v.what.failure(ctx.Err())
		}
	}
}

// listener is somebody who wants to hear of changes.
type listener[V any] struct {
	ring     func()
	concerns func(before, after *V) bool
}

// Listen calls ring at each change that concerns the caller, until ctx ends;
// it calls listening once no change will be missed. before is nil for an object
// that is new, after for one that is gone. It is a Ringer's Listen.
func (v *View[V]) Listen(ctx context.Context, listening, ring func(), concerns func(before, after *V) bool) error {
	l := &listener[V]{ring: ring, concerns: concerns}
	v.change(func() { v.listeners[l] = struct{}{} })
	defer v.change(func() { delete(v.listeners, l) })
	if err := v.known(ctx); err != nil {
		return err
	}
	listening()
	<-ctx.Done()
	return ctx.Err()
}

// tell rings for those whom a change concerns.
func (v *View[V]) tell(before, after *V) {
	v.mu.RLock()
	var concerned []*listener[V]
	for l := range v.listeners {
		if before == nil && after == nil || l.concerns(before, after) {
			concerned = append(concerned, l)
		}
	}
	v.mu.RUnlock()
	for _, l := range concerned {
		l.ring()
	}
}

// store is the side of a view that a reflector writes to.
type store[O Object, V any] struct {
	view *View[V]
	kind Kind[O, V]
}

// Transformer implements cache.TransformingStore: of each object that is listed, as it
// comes, it makes what is kept, and counts that. Of a list that is too large nothing
// more is kept.
func (s store[O, V]) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		typed, ok := object.(O)
		if !ok {
			return object, nil
		}
		one := &listed[V]{kept: s.kind.Keep(typed)}
		one.Name, one.Namespace = typed.GetName(), typed.GetNamespace()
		if !s.view.count(s.sizeOf(one.Name, one.kept)) {
			return &listed[V]{}, nil // the same for all that come
		}
		return one, nil
	}
}

// beginList notes that all objects are listed anew.
func (v *View[V]) beginList() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.listing, v.excess = 0, nil
}

// count counts an object of the list under way, and reports whether there is room.
func (v *View[V]) count(bytes int) bool {
	v.mu.Lock()
	over, all := v.excess, max(v.listing+bytes, v.bytes)
	v.listing += bytes
	v.mu.Unlock()
	if over != nil {
		return false
	}
	if over = v.held.Set(all); over != nil { // not with the lock, which visits have
		v.mu.Lock()
		defer v.mu.Unlock()
		v.excess = over
	}
	return over == nil
}

// Add implements cache.ReflectorStore.
func (s store[O, V]) Add(object any) error { return s.Update(object) }

// Update implements cache.ReflectorStore.
func (s store[O, V]) Update(object any) error {
	typed, ok := object.(O)
	if !ok {
		return nil // an event of the watch itself
	}
	after := s.kind.Keep(typed)
	before, bytes := s.known(typed.GetName())
	bytes += s.sizeOf(typed.GetName(), after)
	if err := s.view.held.Set(bytes); err != nil {
		err = s.view.refuse(err)
		s.view.relist()
		return err
	}
	s.view.change(func() {
		if s.view.objects != nil { // a reflector replaces before it updates
			s.view.objects[typed.GetName()], s.view.bytes = after, bytes
		}
	})
	s.view.tell(before, &after)
	return nil
}

// known is what is known of an object, nil for nothing, and how many bytes all
// others take. Nobody but the reflector changes that.
func (s store[O, V]) known(name string) (object *V, others int) {
	s.view.mu.RLock()
	defer s.view.mu.RUnlock()
	old, known := s.view.objects[name]
	if !known {
		return nil, s.view.bytes
	}
	return &old, s.view.bytes - s.sizeOf(name, old)
}

// sizeOf is what an object takes.
func (s store[O, V]) sizeOf(name string, kept V) int {
	return perObject + len(name) + s.kind.Size(kept)
}

// refuse lets go of all objects, which are more than may be held: what is known
// of some of them is no answer.
func (v *View[V]) refuse(err error) error {
	v.change(func() { v.objects, v.bytes, v.err = nil, 0, err })
	_ = v.held.Set(0) // never refused
	return err
}

// Delete implements cache.ReflectorStore.
func (s store[O, V]) Delete(object any) error {
	typed, ok := object.(O)
	if !ok {
		return nil
	}
	before, bytes := s.known(typed.GetName())
	s.view.change(func() {
		delete(s.view.objects, typed.GetName())
		s.view.bytes = bytes
	})
	_ = s.view.held.Set(bytes) // never refused: it is no more than before
	if before != nil {
		s.view.tell(before, nil)
	}
	return nil
}

// Replace implements cache.ReflectorStore: everything may have changed.
func (s store[O, V]) Replace(list []any, _ string) error {
	s.view.mu.RLock()
	excess := s.view.excess
	s.view.mu.RUnlock()
	if excess != nil {
		return s.view.refuse(excess)
	}
	objects, bytes := make(map[string]V, len(list)), 0
	for _, object := range list {
		if one, ok := object.(*listed[V]); ok {
			objects[one.Name] = one.kept
			bytes += s.sizeOf(one.Name, one.kept)
		}
	}
	if err := s.view.held.Set(bytes); err != nil {
		return s.view.refuse(err)
	}
	s.view.change(func() { s.view.objects, s.view.bytes = objects, bytes })
	s.view.tell(nil, nil)
	return nil
}

// Resync implements cache.ReflectorStore.
func (s store[O, V]) Resync() error { return nil }
