// Package peers asks families at that port of their Pods at which kubectl
// port-forward ends, by way of the API server and with the rights of whoever asks.
package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sluice-autoscaler/sluice/controller/federation"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/answers"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/forward"
	"github.com/sluice-autoscaler/sluice/proto/externalscaler"
)

const (
	// loopbackPort is the name of that port.
	loopbackPort = "loopback"
	// mostPods is how many of a family's are looked at.
	mostPods = 50
	// ofLoopback is what a family's refusal names when it is about who asks.
	ofLoopback = "--loopback-credentials"
)

// UnaskableError says why a family cannot be asked by the user. Others may be able
// to.
type UnaskableError struct{ Why string }

func (e *UnaskableError) Error() string { return e.Why }

// Families are those of an installation.
type Families struct {
	objects dynamic.Interface
	config  *rest.Config
	// installation is the namespace of Sluice.
	installation string
}

// Connect returns the families in a namespace of the cluster that a configuration
// is for.
func Connect(config *rest.Config, installation string) (*Families, error) {
	bounded := rest.CopyConfig(config)
	bounded.QPS, bounded.Burst = 50, 100 // an answer is waited for by a person
	answers.Bound(bounded)
	objects, err := dynamic.NewForConfig(bounded)
	return &Families{objects: objects, config: config, installation: installation}, err
}

// Peer is a Pod of a family.
type Peer struct {
	// Name is the Pod's, with its namespace.
	Name string
	dial func(context.Context) (net.Conn, error)
}

// Find finds a Pod that is ready and serves a trigger type: one of its Service.
func (f *Families) Find(ctx context.Context, triggerType string) (*Peer, error) {
	if err := federation.CheckType(triggerType); err != nil {
		return nil, err
	}
	name := "scaler-" + triggerType
	var service corev1.Service
	got, err := f.objects.Resource(corev1.SchemeGroupVersion.WithResource("services")).Namespace(f.installation).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		err = refill(got, &service)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, federation.Absent(triggerType, f.installation, nil)
	case apierrors.IsForbidden(err):
		return nil, &UnaskableError{"you may not get Service " + name + " in namespace " + f.installation}
	case err != nil:
		return nil, err
	case len(service.Spec.Selector) == 0:
		return nil, &UnaskableError{"Service " + name + " in namespace " + f.installation + " selects no Pods that a port is forwarded to"}
	}
	list, err := f.objects.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(f.installation).
		List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(service.Spec.Selector).String(), Limit: mostPods})
	switch {
	case apierrors.IsForbidden(err):
		return nil, &UnaskableError{"you may not list Pods in namespace " + f.installation}
	case err != nil:
		return nil, err
	}
	for i := range list.Items {
		var p corev1.Pod
		if err := refill(&list.Items[i], &p); err != nil {
			return nil, err
		}
		port := forward.PortOf(&p, loopbackPort)
		if port == 0 || !forward.Ready(&p) {
			continue
		}
		to, err := forward.To(f.config, p.Namespace, p.Name, port)
		if err != nil {
			return nil, err
		}
		return &Peer{Name: p.Namespace + "/" + p.Name, dial: to.Dial}, nil
	}
	return nil, &UnaskableError{fmt.Sprintf("none of the %d Pods of Service %s in namespace %s is ready and has a port %s",
		len(list.Items), name, f.installation, loopbackPort)}
}

func refill(from *unstructured.Unstructured, into any) error {
	text, err := json.Marshal(from.Object)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// largest is what one answer of a family may be.
var largest = externalscaler.Largest{Bytes: 256 << 10, Elements: externalscaler.FewElements}

// Session is a connection to a Pod of a family. Whoever has it closes it.
type Session struct {
	*grpc.ClientConn
	peer    *Peer
	refused chan error // why there is no connection
	heard   atomic.Bool
}

// Open returns a connection, which begins with the first question.
func (p *Peer) Open() (*Session, error) {
	s := &Session{peer: p, refused: make(chan error, 1)}
	options := append(externalscaler.Bounded("the family", largest, insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(), grpc.WithUserAgent("kubectl-sluice"), grpc.WithContextDialer(s.dial))
	var err error
	s.ClientConn, err = grpc.NewClient("passthrough:///family", options...) //dials:through the stream that the API server forwards
	return s, err
}

func (s *Session) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := s.peer.dial(ctx)
	if err != nil {
		select {
		case s.refused <- err:
		default:
		}
		return nil, err
	}
	return listening{conn, &s.heard}, nil
}

// Why tells errors that are about who asks, as UnaskableErrors, from those that a
// family has of the question. ctx is the question's.
func (s *Session) Why(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	select {
	case why := <-s.refused:
		return &UnaskableError{fmt.Sprintf("Pod %s: %v", s.peer.Name, why)}
	default:
	}
	text := status.Convert(err).Message()
	switch {
	case !s.heard.Load() && ctx.Err() == nil: // a port with nobody behind it
		return &UnaskableError{fmt.Sprintf("Pod %s: %s", s.peer.Name, text)}
	case status.Code(err) == codes.PermissionDenied && strings.Contains(text, ofLoopback):
		return &UnaskableError{text}
	}
	return err
}

// listening notes whether anything was heard over a connection.
type listening struct {
	net.Conn
	heard *atomic.Bool
}

func (l listening) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if n > 0 {
		l.heard.Store(true)
	}
	return n, err
}
