package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/client"
)

// azureServiceBus scales on the messages of a queue or a subscription of
// Service Bus, or of several.
var azureServiceBus = scaler.Define("azure-servicebus", openServiceBus)

// serviceBusParams is the metadata of an azure-servicebus trigger.
type serviceBusParams struct {
	identityParams
	cloudParams

	// QueueName is the queue; with useRegex a regular expression that whole names
	// of queues match.
	QueueName string `param:"queueName"`
	// TopicName is the topic of the subscription.
	TopicName string `param:"topicName"`
	// SubscriptionName is the subscription; with useRegex a regular expression
	// that whole names of the topic's subscriptions match.
	SubscriptionName string `param:"subscriptionName"`
	// MessageCount is the target: messages one replica is expected to carry.
	MessageCount int64 `param:"messageCount" default:"5" role:"target" unit:"messages"`
	// ActivationMessageCount is the activation threshold.
	ActivationMessageCount int64 `param:"activationMessageCount" default:"0" role:"activation" unit:"messages"`
	// Connection is the connection string of the namespace, with the right Manage.
	// Pod identity azure-workload ignores it.
	Connection string `param:"connection" from:"auth,env"`
	// Namespace is the short name of the namespace. It counts with pod identity
	// alone, which needs it.
	Namespace string `param:"namespace"`
	// UseRegex has queueName or subscriptionName select several.
	UseRegex bool `param:"useRegex" default:"false"`
	// Operation combines the counts of several: their sum, their maximum, or
	// their average, rounded down.
	Operation string `param:"operation" default:"sum" enum:"sum,max,avg"`
}

// Validate checks what is counted, and that there is a way to the namespace.
func (p serviceBusParams) Validate() error {
	return errors.Join(append(p.checkEntity(), p.checkAccess())...)
}

func (p serviceBusParams) checkEntity() []error {
	var problems []error
	switch {
	case p.QueueName != "" && p.TopicName != "":
		problems = append(problems, errors.New("queueName: cannot be given beside topicName"))
	case p.QueueName != "" && p.SubscriptionName != "":
		problems = append(problems, errors.New("subscriptionName: is of a topic, and cannot be given beside queueName"))
	case p.QueueName == "" && p.TopicName == "":
		problems = append(problems, errors.New("queueName: is required, or topicName and subscriptionName: there is no entity type"))
	case p.TopicName != "" && p.SubscriptionName == "":
		problems = append(problems, errors.New("subscriptionName: is required with topicName"))
	}
	if _, _, err := p.pattern(); err != nil {
		problems = append(problems, err)
	}
	return problems
}

func (p serviceBusParams) checkAccess() error {
	switch {
	case p.entra() && p.Namespace == "":
		return errors.New("namespace: is required with pod identity azure-workload")
	case p.entra():
		return checkLabel("namespace", p.Namespace)
	case p.Provider != "" && p.Provider != "none":
		return nil // which is a problem of its own
	case p.Connection == "":
		return errors.New("connection: is required without pod identity azure-workload")
	}
	_, err := parseMessaging(p.Connection)
	return of("connection", err)
}

// Warnings are about what is given in vain.
func (p serviceBusParams) Warnings() []string {
	switch {
	case p.entra() && p.Connection != "":
		return []string{"connection: is ignored, since the authentication has pod identity azure-workload"}
	case p.entra():
		return nil
	}
	var warnings []string
	if access, err := parseMessaging(p.Connection); err == nil && access.Entity != "" && !strings.EqualFold(access.Entity, cmp.Or(p.QueueName, p.TopicName)) {
		warnings = append(warnings, "connection: its EntityPath is ignored: queueName or topicName says what is counted")
	}
	if p.Namespace != "" {
		warnings = append(warnings, "namespace: is ignored without pod identity azure-workload: connection says which namespace it is")
	}
	return warnings
}

// Name is that of the queue or topic.
func (p serviceBusParams) Name() string {
	switch {
	case p.UseRegex && p.TopicName != "":
		return "azure-servicebus-topic-regex"
	case p.UseRegex:
		return "azure-servicebus-queue-regex"
	default:
		return scaler.MetricName("azure-servicebus", cmp.Or(p.TopicName, p.QueueName))
	}
}

// pattern is the regular expression and its size, "" for none.
func (p serviceBusParams) pattern() (text string, size int, err error) {
	if !p.UseRegex {
		return "", 0, nil
	}
	parameter := "queueName"
	text = p.QueueName
	if p.TopicName != "" {
		parameter, text = "subscriptionName", p.SubscriptionName
	}
	if size, err = checkPattern(text); err != nil {
		return "", 0, fmt.Errorf("%s: is not a regular expression: %w", parameter, err)
	}
	return text, size, nil
}

const (
	// longestPattern bounds a regular expression, in bytes, and largestPattern what
	// it is compiled to, in instructions: each name of the list may meet each of them
	// at each character.
	longestPattern = 1024
	largestPattern = 1000
)

// checkPattern refuses what is no regular expression or too large, and says how
// large it is. That is found out before it is compiled: a short one may stand for
// very much. Sources keep the text, and compile it for one page of a list after the
// other: compiled it is a hundred times as large, and there are thousands of them.
func checkPattern(text string) (size int, err error) {
	if len(text) > longestPattern {
		return 0, fmt.Errorf("it has more than %d bytes", longestPattern)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0, err
	}
	size = instructions(tree)
	if size > largestPattern {
		return 0, errors.New("its repetitions and classes stand for too much")
	}
	_, err = regexp.Compile(text)
	return size, err
}

// instructions is about how many instructions a regular expression is compiled to.
func instructions(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/2
	if re.Op == syntax.OpLiteral {
		n = len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, largestPattern+1)
}

// serviceBusSource reads one queue or subscription, or those that a pattern
// selects.
type serviceBusSource struct {
	*bus
	what    string // how errors begin
	path    string // of the entity; "" for several
	name    string // of the entity, as a list has it
	listing string // the path of the list that it is in
	within  string // what the list is of, as errors say it

	pattern   string // of names; "" for one
	size      int    // of the pattern, in instructions
	operation string
	pace      client.Pace
}

func openServiceBus(ctx context.Context, p serviceBusParams) (scaler.Source, error) {
	b, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &serviceBusSource{bus: b, operation: p.Operation}
	if s.pattern, s.size, err = p.pattern(); err != nil {
		return nil, scaler.Errorf(codes.InvalidArgument, "%w", err)
	}
	if p.TopicName == "" {
		s.listing, s.within, s.name = "$Resources/Queues", "the list of queues", p.QueueName
		s.what, s.path = "queue "+p.QueueName, escaped(p.QueueName)
	} else {
		s.listing, s.within, s.name = escaped(p.TopicName)+"/Subscriptions", "the list of subscriptions of topic "+p.TopicName, p.SubscriptionName
		s.what, s.path = "subscription "+p.SubscriptionName+" of topic "+p.TopicName, s.listing+"/"+escaped(p.SubscriptionName)
	}
	return s, nil
}

func (p serviceBusParams) open(ctx context.Context) (*bus, error) {
	if p.entra() {
		host, in, err := p.host(p.Namespace, "", func(c cloud) string { return c.serviceBus })
		if err != nil {
			return nil, err
		}
		return lendBus(ctx, p.identityParams, in, cmp.Or(p.suffixParameter(), "namespace"), host)
	}
	access, err := parseMessaging(p.Connection)
	if err != nil {
		return nil, of("connection", err)
	}
	return openBus(ctx, access)
}

// Batch is the namespace, of which many are read by one list.
func (s *serviceBusSource) Batch() scaler.Batch { return s.bus }

// Read returns the messages that wait to be received, or are being worked on.
func (s *serviceBusSource) Read(ctx context.Context) ([]scaler.Reading, error) {
	var active int64
	err := s.places.Do(ctx, &s.pace, func(ctx context.Context) (err error) {
		if s.pattern != "" {
			active, err = s.combined(ctx)
			return err
		}
		active, err = s.read(ctx, s.what, s.path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return scaler.One(float64(active)), nil
}

// combined is what the operation makes of those that the pattern selects.
func (s *serviceBusSource) combined(ctx context.Context) (int64, error) {
	all := newCombinations(ctx, s)
	if err := s.list(ctx, s.within, s.listing, func(page []entity) error { return all.add(ctx, page) }); err != nil {
		return 0, err
	}
	return all.of[0].value()
}

// combination is what a list has said so far for one pattern.
type combination struct {
	source   *serviceBusSource
	pattern  *regexp.Regexp // nil before the first name of a page
	matches  int64
	sum, max int64
	work     int           // that the pattern has been, in instructions for each character
	took     time.Duration // the same in time
	err      error
}

const (
	// longestEntity is how long the path of an entity is, in characters of up to
	// four bytes. What is longer is none.
	longestEntity = 4 * 260
	// mostWork is what one pattern may be for one list: 10,000 names of 50
	// characters, and 400 instructions.
	mostWork = 200_000_000
)

func (c *combination) add(e entity) {
	if len(e.name) > longestEntity || c.err != nil {
		return
	}
	if c.work += c.source.size * (len(e.name) + 1); c.work > mostWork {
		c.err = scaler.Errorf(codes.FailedPrecondition, "%s: its names are too many for so large a regular expression: simplify it", c.source.within)
		return
	}
	if c.pattern == nil {
		if c.pattern, c.err = regexp.Compile(c.source.pattern); c.err != nil {
			return
		}
		c.pattern.Longest()
	}
	// The longest match that begins first is the whole name.
	if at := c.pattern.FindStringIndex(e.name); at == nil || at[0] != 0 || at[1] != len(e.name) {
		return
	}
	if e.active < 0 {
		c.err = lacking(c.source.within)
	}
	c.matches++
	c.sum += max(e.active, 0)
	c.max = max(c.max, e.active)
}

// combinations are made of one list together. Of the time that there is for it they
// may take a part: who takes the most is the first to fail beyond that, for itself.
type combinations struct {
	of   []*combination
	most time.Duration // 0 for any
	took time.Duration // by those that have not failed
}

// partOfTime is that of a read that its patterns may be at work together: they
// wait for their turns, and the list has to be read.
const partOfTime = 2

var errTakesLong = scaler.Errorf(codes.DeadlineExceeded, "there is no time to hold the regular expression against all names of the list: simplify it")

func newCombinations(ctx context.Context, sources ...*serviceBusSource) *combinations {
	all := &combinations{}
	for _, s := range sources {
		all.of = append(all.of, &combination{source: s})
	}
	if end, bounded := ctx.Deadline(); bounded {
		all.most = max(time.Until(end)/partOfTime, 1)
	}
	return all
}

// add adds a page of the list. It takes turns at the processors, and ends with the
// context.
func (all *combinations) add(ctx context.Context, page []entity) error {
	var turn client.Turn
	defer turn.Rest()
	for _, c := range all.of {
		for _, e := range page {
			if c.err != nil {
				break
			}
			if err := turn.Work(ctx); err != nil {
				return err
			}
			began := time.Now()
			c.add(e)
			all.spent(c, time.Since(began))
		}
		c.pattern = nil
	}
	return nil
}

// spent counts what one took, and has those fail that took too much.
func (all *combinations) spent(c *combination, took time.Duration) {
	if c.err != nil {
		all.took -= c.took // the time is that of the others again
		c.took = 0
		return
	}
	c.took += took
	for all.took += took; all.most > 0 && all.took > all.most; {
		greedy := slices.MaxFunc(all.of, func(a, b *combination) int { return cmp.Compare(a.took, b.took) })
		greedy.err = errTakesLong
		all.took -= greedy.took
		greedy.took = 0
	}
}

func (c *combination) value() (int64, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case c.matches == 0:
		return 0, nil
	case c.source.operation == "max":
		return c.max, nil
	case c.source.operation == "avg":
		return c.sum / c.matches, nil
	default:
		return c.sum, nil
	}
}

// fewest is how many entities of one list have it read in place of each of them.
const fewest = 10

// ReadBatch reads sources of the namespace. Those that a list says all of are
// read by one; the others, and those that it does not name, each by itself.
func (b *bus) ReadBatch(ctx context.Context, sources []scaler.Source, answer func(int, scaler.Result)) error {
	lists := map[string]*listed{}
	for i, source := range sources {
		s, ok := source.(*serviceBusSource)
		if !ok {
			continue
		}
		l := lists[s.listing]
		if l == nil {
			l = &listed{answer: answer}
			lists[s.listing] = l
		}
		l.members = append(l.members, entityMember{i, s})
		if s.pattern != "" {
			l.patterns++
		}
	}
	var running sync.WaitGroup
	for _, l := range lists {
		running.Go(func() {
			if err := scaler.Safely("reading namespace "+b.host, func() error { l.read(ctx, b); return nil }); err != nil {
				l.fail(err)
			}
		})
	}
	running.Wait()
	return nil
}

// listed are the members of a batch that one list is about.
type listed struct {
	answer   func(int, scaler.Result)
	members  []entityMember
	patterns int
}

// entityMember is one of a batch and its place in it.
type entityMember struct {
	at int
	*serviceBusSource
}

// fail answers who was not answered.
func (l *listed) fail(err error) {
	for _, m := range l.members {
		l.answer(m.at, scaler.Result{Err: err})
	}
}

// worthwhile reports whether the list costs no more than what it saves.
func (l *listed) worthwhile(b *bus) bool {
	if l.patterns > 0 {
		return true
	}
	pages, known := b.costs(l.members[0].listing)
	return len(l.members) >= fewest && (!known || pages <= len(l.members))
}

func (l *listed) read(ctx context.Context, b *bus) {
	rest := l.members
	if l.worthwhile(b) {
		rest = l.byList(ctx)
	}
	var running sync.WaitGroup
	for _, m := range rest {
		running.Go(func() {
			var readings []scaler.Reading
			err := scaler.Safely("reading "+m.what, func() (err error) {
				readings, err = m.Read(scaler.ForMembers(ctx, m.at))
				return err
			})
			l.answer(m.at, scaler.Result{Readings: readings, Err: err})
		})
	}
	running.Wait()
}

// byList reads the list and returns the members that it says nothing of. Where it
// cannot be read, those are all but the patterns, whose error that is.
func (l *listed) byList(ctx context.Context) (rest []entityMember) {
	places := make([]int, len(l.members))
	for i, m := range l.members {
		places[i] = m.at
	}
	ctx = scaler.ForMembers(ctx, places...)
	first := l.members[0]
	active := map[string]int64{}
	var patterns []*serviceBusSource
	for _, m := range l.members {
		if m.pattern == "" {
			active[strings.ToLower(m.name)] = -1
		} else {
			patterns = append(patterns, m.serviceBusSource)
		}
	}
	combined := newCombinations(ctx, patterns...)
	err := first.places.Do(ctx, &first.pace, func(ctx context.Context) error {
		combined = newCombinations(ctx, patterns...) // it may be made again
		return first.list(ctx, first.within, first.listing, func(page []entity) error {
			for _, e := range page {
				if _, wanted := active[strings.ToLower(e.name)]; wanted {
					active[strings.ToLower(e.name)] = e.active
				}
			}
			return combined.add(ctx, page)
		})
	})
	next := 0
	for _, m := range l.members {
		if m.pattern != "" {
			c := combined.of[next]
			next++
			value, failed := c.value()
			if err != nil {
				failed = err
			}
			l.answer(m.at, result(value, failed))
			continue
		}
		if n := active[strings.ToLower(m.name)]; err == nil && n >= 0 {
			l.answer(m.at, result(n, nil))
			continue
		}
		rest = append(rest, m)
	}
	return rest
}

func result(value int64, err error) scaler.Result {
	if err != nil {
		return scaler.Result{Err: err}
	}
	return scaler.Result{Readings: scaler.One(float64(value))}
}
