package manager

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sluice-autoscaler/sluice/identity/turns"
)

// inTurns has so many workers serve the namespaces in turn, half of them one: what
// thousands of objects of one namespace wait for, or a few whose every request takes
// long, keeps no other waiting.
func inTurns(count int, o controller.Options) controller.Options {
	o.MaxConcurrentReconciles = count
	o.NewQueue = func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) queue {
		return newTurnQueue(name, limiter, (count+1)/2)
	}
	return o
}

// fewWorkers are enough for what is seldom written, and two namespaces.
const fewWorkers = 2

// turnQueue is a queue in which namespaces take turns. Within one, what a change
// asks for comes before what is there because everything is looked at.
type turnQueue struct {
	queue
	line *line
}

var _ priorityqueue.PriorityQueue[reconcile.Request] = &turnQueue{}

// newTurnQueue has so many requests of one namespace be worked on at once.
func newTurnQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request], ofOne int) *turnQueue {
	l := newLine(ofOne)
	waiting := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: l})
	delayed := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{Name: name, Queue: waiting})
	return &turnQueue{
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
			Name: name, DelayingQueue: delayed,
		}),
		line: l,
	}
}

// Add implements workqueue.TypedInterface.
func (q *turnQueue) Add(r reconcile.Request) {
	q.line.wanted(r, false)
	q.queue.Add(r)
}

// AddWithOpts implements priorityqueue.PriorityQueue.
func (q *turnQueue) AddWithOpts(o priorityqueue.AddOpts, requests ...reconcile.Request) {
	for _, r := range requests {
		switch {
		case o.RateLimited:
			q.AddRateLimited(r)
		case o.After > 0:
			q.AddAfter(r, o.After)
		default:
			q.line.wanted(r, o.Priority != nil && *o.Priority < 0)
			q.queue.Add(r)
		}
	}
}

// GetWithPriority implements priorityqueue.PriorityQueue.
func (q *turnQueue) GetWithPriority() (r reconcile.Request, priority int, shutdown bool) {
	r, shutdown = q.Get()
	return r, 0, shutdown
}

// Done implements workqueue.TypedInterface. Whoever calls it comes back for the
// next request, which may be the one that now has room.
func (q *turnQueue) Done(r reconcile.Request) {
	q.line.leave(r.Namespace)
	q.queue.Done(r)
}

// line is the order of a turnQueue.
type line struct {
	mu      sync.Mutex
	turns   *turns.Line[reconcile.Request]
	waiting map[reconcile.Request]*turns.Turn[reconcile.Request]
	// later is of requests that were asked for and not begun: whether nothing but
	// a list asks for them.
	later map[reconcile.Request]bool
}

func newLine(ofOne int) *line {
	return &line{
		turns:   turns.NewLine[reconcile.Request](anyNumber, ofOne),
		waiting: map[reconcile.Request]*turns.Turn[reconcile.Request]{},
		later:   map[reconcile.Request]bool{},
	}
}

// anyNumber is for all namespaces together: there are no more than workers.
const anyNumber = 1 << 30

// wanted is told before a request is put into the queue.
func (l *line) wanted(r reconcile.Request, later bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.later[r]; !known || !later {
		l.later[r] = later
	}
}

// Touch implements workqueue.Queue: a request that waits is asked for once more.
func (l *line) Touch(r reconcile.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if turn := l.waiting[r]; turn != nil && turn.Later && !l.later[r] && l.turns.GiveUp(turn) {
		l.wait(r)
	}
}

// Push implements workqueue.Queue.
func (l *line) Push(r reconcile.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait(r)
}

func (l *line) wait(r reconcile.Request) {
	l.waiting[r] = l.turns.Wait(r.Namespace, r, l.later[r])
}

// Len implements workqueue.Queue: it is 0 while nobody who waits has room.
func (l *line) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turns.Due() {
		return len(l.waiting)
	}
	return 0
}

// Pop implements workqueue.Queue.
func (l *line) Pop() reconcile.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	turn, _ := l.turns.Next() // which Len has promised
	delete(l.waiting, turn.Value)
	delete(l.later, turn.Value)
	return turn.Value
}

func (l *line) leave(namespace string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turns.Leave(namespace)
}
