package federation

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	familyLabel   = "sluice.dev/family"
	portName      = "grpc"
	plaintextHTTP = "kubernetes.io/h2c"
	secureGRPC    = "grpcs"
)

// view is what the cluster says of one Service.
type view struct {
	family    string
	plaintext bool
	endpoints []endpoint
	// problem is why the Service cannot be used as it stands, or nil.
	problem error
}

// endpoint is one address of a Service.
type endpoint struct {
	// target is what gRPC dials, address what a human reads and what counts
	// in the choice of an instance.
	target, address string
	// terminating instances still answer and get nothing new.
	terminating bool
}

// transports is what this process can speak.
type transports struct{ secure, plaintext bool }

// readService understands a Service and the EndpointSlices that belong to it.
func readService(svc *corev1.Service, all []*discoveryv1.EndpointSlice, triggerType string, can transports) view {
	v := view{family: svc.Labels[familyLabel]}
	if v.family == "" {
		v.family = triggerType
	}
	port, ok := grpcPort(svc)
	if !ok {
		v.problem = errService(triggerType, svc.Namespace, "has several ports and none is named %s", portName)
		return v
	}
	switch protocol := appProtocol(port); protocol {
	case "", secureGRPC:
		if !can.secure {
			v.problem = errService(triggerType, svc.Namespace, "asks for mTLS, and this process has no keys")
			return v
		}
	case plaintextHTTP:
		if !can.plaintext {
			v.problem = errService(triggerType, svc.Namespace,
				"is plaintext (appProtocol %s), which this installation does not allow", plaintextHTTP)
			return v
		}
		v.plaintext = true
	default:
		v.problem = errService(triggerType, svc.Namespace, "has appProtocol %q; known are %s and %s", protocol, secureGRPC, plaintextHTTP)
		return v
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		address := net.JoinHostPort(svc.Spec.ExternalName, strconv.Itoa(int(port.Port)))
		v.endpoints = []endpoint{{target: "dns:///" + address, address: address}}
		return v
	}
	v.endpoints = readSlices(svc, all, port.Name)
	return v
}

// SecureFamily returns the family behind a Service, and whether it is one that
// is spoken to with mTLS and so needs a key.
func SecureFamily(svc *corev1.Service) (family string, ok bool) {
	triggerType, ok := strings.CutPrefix(svc.Name, servicePrefix)
	if !ok || !canBeAType(triggerType) {
		return "", false
	}
	v := readService(svc, nil, triggerType, transports{secure: true})
	return v.family, v.problem == nil
}

// Services are those of Namespace, once they were seen. They are not to be
// changed. The error is that of ctx.
func (f *Federation) Services(ctx context.Context) ([]*corev1.Service, error) {
	select {
	case <-f.synced:
		return f.directory.services.List(labels.Everything())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// grpcPort returns the port named grpc, else the only one.
func grpcPort(svc *corev1.Service) (corev1.ServicePort, bool) {
	for _, port := range svc.Spec.Ports {
		if port.Name == portName {
			return port, true
		}
	}
	if len(svc.Spec.Ports) == 1 {
		return svc.Spec.Ports[0], true
	}
	return corev1.ServicePort{}, false
}

func appProtocol(port corev1.ServicePort) string {
	if port.AppProtocol == nil {
		return ""
	}
	return *port.AppProtocol
}

// readSlices returns the addresses that are ready, and those that are
// terminating but still serve, in a fixed order.
func readSlices(svc *corev1.Service, all []*discoveryv1.EndpointSlice, name string) []endpoint {
	wanted := addressType(svc, all)
	found := map[string]endpoint{}
	for _, slice := range all {
		port, ok := slicePort(slice, name)
		if !ok || slice.AddressType != wanted {
			continue
		}
		for _, e := range slice.Endpoints {
			usable, terminating := condition(e.Conditions)
			if !usable || len(e.Addresses) == 0 {
				continue
			}
			// The addresses of an endpoint are the same Pod; only the first
			// counts.
			address := net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(port)))
			if known, ok := found[address]; ok { // moving between two slices
				terminating = terminating && known.terminating
			}
			found[address] = endpoint{target: "passthrough:///" + address, address: address, terminating: terminating}
		}
	}
	endpoints := make([]endpoint, 0, len(found))
	for _, e := range found {
		endpoints = append(endpoints, e)
	}
	slices.SortFunc(endpoints, func(a, b endpoint) int { return strings.Compare(a.address, b.address) })
	return endpoints
}

// condition reads an endpoint's conditions, where unknown is ready.
func condition(c discoveryv1.EndpointConditions) (usable, terminating bool) {
	if c.Ready == nil || *c.Ready {
		return true, c.Terminating != nil && *c.Terminating
	}
	serving := c.Serving != nil && *c.Serving
	terminating = c.Terminating != nil && *c.Terminating
	return serving && terminating, true
}

// addressType picks one IP family: a dual-stack Pod is one instance, not two.
func addressType(svc *corev1.Service, all []*discoveryv1.EndpointSlice) discoveryv1.AddressType {
	var types []discoveryv1.AddressType
	for _, slice := range all {
		if len(slice.Endpoints) > 0 {
			types = append(types, slice.AddressType)
		}
	}
	if len(svc.Spec.IPFamilies) > 0 && slices.Contains(types, discoveryv1.AddressType(svc.Spec.IPFamilies[0])) {
		return discoveryv1.AddressType(svc.Spec.IPFamilies[0])
	}
	for _, t := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		if slices.Contains(types, t) {
			return t
		}
	}
	return discoveryv1.AddressTypeFQDN
}

func slicePort(slice *discoveryv1.EndpointSlice, name string) (int32, bool) {
	for _, port := range slice.Ports {
		if port.Port == nil {
			continue
		}
		given := ""
		if port.Name != nil {
			given = *port.Name
		}
		if given == name {
			return *port.Port, true
		}
	}
	return 0, false
}

// directory follows Services and EndpointSlices.
type directory struct {
	can      transports
	factory  informers.SharedInformerFactory
	services corelisters.ServiceNamespaceLister
	slices   discoverylisters.EndpointSliceNamespaceLister
	synced   []cache.InformerSynced
}

// newDirectory calls changed, never twice at once for one informer, with the
// trigger type whose Service or addresses changed.
func newDirectory(config Config, changed func(triggerType string)) (*directory, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(config.Client, 0,
		informers.WithNamespace(config.Namespace), informers.WithTransform(stripManagedFields))
	services, endpoints := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	d := &directory{
		can:      transports{secure: config.Transport != nil, plaintext: config.AllowPlaintext},
		factory:  factory,
		services: services.Lister().Services(config.Namespace),
		slices:   endpoints.Lister().EndpointSlices(config.Namespace),
	}
	for _, follow := range []struct {
		informer cache.SharedIndexInformer
		service  func(any) string
		then     func() // may be nil
	}{
		{services.Informer(), serviceName, config.ServicesChanged},
		{endpoints.Informer(), sliceService, nil},
	} {
		registration, err := follow.informer.AddEventHandler(onAny(func(object any) {
			if t, ok := strings.CutPrefix(follow.service(object), servicePrefix); ok && canBeAType(t) {
				changed(t)
				if follow.then != nil {
					follow.then()
				}
			}
		}))
		if err != nil {
			return nil, err
		}
		d.synced = append(d.synced, registration.HasSynced)
	}
	return d, nil
}

// stripManagedFields drops what nobody here reads and what is half of an
// object's size.
func stripManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// start begins to follow and returns once everything that exists was seen.
func (d *directory) start(ctx context.Context) bool {
	d.factory.StartWithContext(ctx)
	return cache.WaitForCacheSync(ctx.Done(), d.synced...)
}

// stop waits for what start began; its context must be done.
func (d *directory) stop() { d.factory.Shutdown() }

// look returns what is known of a type's Service, false when there is none.
func (d *directory) look(triggerType string) (view, bool) {
	name := servicePrefix + triggerType
	svc, err := d.services.Get(name)
	if err != nil { // a lister knows no other error than absence
		return view{}, false
	}
	found, err := d.slices.List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
	if err != nil {
		return view{}, false
	}
	return readService(svc, found, triggerType, d.can), true
}

func onAny(changed func(any)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: changed,
		UpdateFunc: func(before, after any) {
			changed(before)
			changed(after)
		},
		DeleteFunc: func(object any) {
			if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = last.Obj
			}
			changed(object)
		},
	}
}

func serviceName(object any) string {
	if svc, ok := object.(*corev1.Service); ok {
		return svc.Name
	}
	return ""
}

func sliceService(object any) string {
	if slice, ok := object.(*discoveryv1.EndpointSlice); ok {
		return slice.Labels[discoveryv1.LabelServiceName]
	}
	return ""
}
