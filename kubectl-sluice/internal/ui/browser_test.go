package ui

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// stepTime is how long each step may take: none of them hangs.
const stepTime = 30 * time.Second

// page is the page in a real Chromium.
type page struct {
	context.Context
	t *testing.T
}

// open opens a page in a browser of its own. What the page says in its console, or
// asks of anybody else, fails the test.
func open(t *testing.T, server *Server) page {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Fatal("there is no Chromium: make test-servers installs one")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.WindowSize(1280, 800),
		chromedp.NoSandbox) // which takes rights that containers lack; the page is our own
	browser, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	var mu sync.Mutex
	var wrong []string
	tab, closeTab := chromedp.NewContext(browser, chromedp.WithListener(func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			wrong = append(wrong, "exception: "+e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			wrong = append(wrong, "console: "+e.Entry.Text+" "+e.Entry.URL)
		case *network.EventRequestWillBeSent:
			if address := e.Request.URL; !strings.HasPrefix(address, "http://"+server.listener.Addr().String()+"/") && !strings.HasPrefix(address, "data:") {
				wrong = append(wrong, "asks "+address)
			}
		}
	}))
	ctx, cancel := context.WithTimeout(tab, 2*time.Minute)
	t.Cleanup(func() {
		cancel()
		closeTab()
		end()
	})
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, text := range wrong {
			t.Error(text)
		}
	})
	p := page{ctx, t}
	if err := chromedp.Do(ctx); err != nil { // starts it, for as long as the page is needed
		t.Fatal(err)
	}
	p.run(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, log.Enable, cdp.Empty{})
		return err
	}), chromedp.Navigate(server.URL()))
	return p
}

func (p page) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	for i, action := range actions {
		ctx, cancel := context.WithTimeout(p, stepTime)
		err := chromedp.Do(ctx, action)
		cancel()
		if err != nil {
			p.t.Fatalf("step %d: %v", i, err)
		}
	}
}

// wait waits until an expression is true.
func (p page) wait(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p, stepTime)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(stepTime/2))); err != nil {
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
		p.t.Fatalf("%s: %v\n%.2000s", expression, err, text)
	}
}

// says waits until an element has a text.
func (p page) says(selector, text string) {
	p.t.Helper()
	p.wait(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, selector, text))
}

// picture writes what is seen to a folder, if there is to be one: somebody has to
// look at it.
func (p page) picture(name string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p, stepTime)
	defer cancel()
	image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if folder := os.Getenv("SCREENSHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), image, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// scaled is a row of an object and what it has.
func scaled(i int, state string, backlog float64, replicas int32) (Row, Point) {
	r := Row{Row: top.Row{Kind: "ScaledObject", Namespace: []string{"shop", "billing", "media"}[i%3], Name: fmt.Sprintf("worker-%04d", i), State: state,
		Backlog: &backlog, Metric: "s0-kafka-orders", Replicas: &replicas, Desired: ptr.To(int64(replicas)), Max: 30}}
	if replicas > 0 {
		r.Load = ptr.To(backlog / float64(replicas) / 5)
	}
	r.Types, r.Families = []string{"kafka"}, []string{"kafka"}
	if i%5 == 0 {
		r.Types, r.Families = []string{"aws-sqs-queue"}, []string{"aws"}
	}
	if state == "failing" {
		r.Problem, r.Failures = "trigger 0 (kafka): broker-1:9092 refuses connections", 7
	}
	r.Key = r.Kind + "/" + r.Namespace + "/" + r.Name
	return r, Point{Time: time.Now(), Backlog: &backlog, Target: ptr.To(5 * float64(replicas)), Replicas: &replicas, Desired: r.Desired}
}

// sources are of some objects, of which one is told in full.
func sources(rows *Rows) Sources {
	return Sources{
		Rows: rows,
		Object: func(_ context.Context, of why.Object) (*why.Facts, error) {
			so := &v1alpha1.ScaledObject{}
			so.Status.Conditions = v1alpha1.Conditions{
				{Type: v1alpha1.ConditionReady, Status: "True", Reason: "ScaledObjectReady", Message: "ScaledObject is defined correctly and is ready for scaling"},
				{Type: v1alpha1.ConditionActive, Status: "True", Reason: "ScalerActive"},
			}
			now := time.Now()
			return &why.Facts{Object: of, ScaledObject: so, Now: now, Account: &account.Account{
				Now: now, Since: now, Times: 1,
				Last: scaling.Explanation{
					Time: now, Replicas: ptr.To[int32](4), Next: "the HPA, at its next sync", Limits: []string{"maxReplicaCount is 30"},
					Metrics: []scaling.ExplainedMetric{{Name: "s0-kafka-orders", Outcome: "value", Value: ptr.To(20.0), Target: 5, Active: true, ReadAt: now, Noticed: "doorbell"}},
				},
				Earlier: []account.Decision{{Since: now.Add(-time.Minute), Times: 3, Last: scaling.Explanation{Time: now.Add(-time.Minute), Replicas: ptr.To[int32](0)}}},
			}}, nil
		},
		Families: func(context.Context) ([]Family, error) {
			return []Family{
				{Family: "aws", Pod: "scaler-aws-1", Problem: "you may not forward ports"},
				{
					Family: "kafka", Pod: "scaler-kafka-1", Ready: true, Questions: ptr.To(40.0), Subscriptions: ptr.To(400.0), Connections: ptr.To(3.0),
					Reads: ptr.To(4.5), Errors: ptr.To(0.0), Median: ptr.To(0.005), P99: ptr.To(0.1), Memory: ptr.To(60e6), MemoryLimit: ptr.To(230e6),
				},
			}, nil
		},
	}
}

// TestPage opens the page, filters it, follows an object from 0 to N and back, and
// looks at the families.
func TestPage(t *testing.T) {
	rows := NewRows()
	for i, state := range []string{"idle", "active", "failing", "paused", "active", "fallback", "unknown"} {
		rows.Set(scaled(i, state, float64(i*3), int32(i)))
	}
	p := open(t, serve(t, sources(rows)))
	p.says("#count", "7 of 7")
	p.wait(`document.getElementById("none").hidden`)
	p.says("#room", "broker-1:9092 refuses connections")
	p.picture("objects-light")

	p.run(chromedp.KeyEvent("/"), chromedp.SendKeys("#text", "worker-0000"))
	p.says("#count", "1 of 7")
	p.run(chromedp.SendKeys("#text", kb.Escape))
	p.says("#count", "7 of 7")
	p.run(chromedp.Click(`[data-state=failing]`))
	p.says("#count", "1 of 7")
	p.run(chromedp.Click(`[data-state=failing]`), chromedp.SetValue("#family", "aws"), chromedp.Evaluate[chromedp.Void](`document.getElementById("family").onchange()`))
	p.says("#count", "2 of 7")
	p.run(chromedp.SetValue("#namespace", "media"), chromedp.Evaluate[chromedp.Void](`document.getElementById("namespace").onchange()`))
	p.says("#count", "1 of 7")
	p.run(chromedp.Evaluate[chromedp.Void](`for (const id of ["family", "namespace"]) { document.getElementById(id).value = ""; document.getElementById(id).onchange(); }`))
	p.says("#count", "7 of 7")

	const line = `[data-key="ScaledObject/shop/worker-0000"]`
	p.says(line, "idle")
	rows.Set(scaled(0, "active", 20, 4))
	p.says(line, "active")
	p.wait(fmt.Sprintf(`document.querySelector(%q).children[4].innerText === "4" && document.querySelector(%q).children[5].innerText === "1"`, line, line))

	p.run(chromedp.Click(line))
	p.says("#title", "ScaledObject shop/worker-0000")
	p.says("#figures", "4")
	p.says("#why", "s0-kafka-orders: 20 at a target of 5")
	p.says("#why", "doorbell")
	p.says("#conditions", "ScaledObjectReady")
	p.wait(`document.querySelectorAll("#object canvas").length === 2`)
	p.picture("object-light")
	rows.Set(scaled(0, "idle", 0, 0))
	p.says("#figures .state", "idle")
	p.wait(`document.querySelectorAll("#figures b")[3].innerText === "0"`)

	p.run(chromedp.KeyEvent("f"))
	p.says("#families", "scaler-kafka-1")
	p.says("#families", "57 of 219 MiB")
	p.says("#families", "you may not forward ports")
	p.picture("families-light")

	p.run(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}},
		})
		return err
	}))
	p.picture("families-dark")
	p.run(chromedp.KeyEvent("o"))
	p.says(line, "idle")
	p.picture("objects-dark")
	p.run(chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2)))
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	p.wait(fmt.Sprintf(`getComputedStyle(document.querySelector(%q).children[4], "::before").content.includes("replicas")`, line))
	p.picture("objects-phone")
	p.run(chromedp.Click(line))
	p.says("#why", "s0-kafka-orders")
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	p.picture("object-phone")

	rows.Trouble("scaledjobs", "you may not list scaledjobs.keda.sh")
	p.says("#trouble", "you may not list scaledjobs.keda.sh")
}

// TestPageOfManyObjects: with 5,000 objects of which hundreds change, what is seen
// stays where it is, and what is not seen is not drawn.
func TestPageOfManyObjects(t *testing.T) {
	const objects = 5000
	rows := NewRows()
	for i := range objects {
		rows.Set(scaled(i, "idle", 0, 0))
	}
	p := open(t, serve(t, sources(rows)))
	p.says("#count", "5000 of 5000")
	p.run(chromedp.SetValue("#order", "name"), chromedp.Evaluate[chromedp.Void](`document.getElementById("order").onchange()`))
	p.says("#room", "worker-0001")
	p.run(chromedp.Evaluate[chromedp.Void](`
		window.drawn = 0;
		new MutationObserver((all) => { for (const m of all) drawn += m.addedNodes.length + m.removedNodes.length; }).observe(document.getElementById("room"), { childList: true });
		window.first = document.querySelector("#room .row");`))
	for i := range 500 {
		rows.Set(scaled(i, "active", 10, 2))
	}
	p.says(`[data-state=active]`, "500")
	p.says(`[data-key="ScaledObject/billing/worker-0001"]`, "active")
	p.wait(`drawn === 0 && first.isConnected && document.querySelectorAll("#room .row").length < 100`)
	p.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("list").scrollTop = 1e9`))
	p.says("#room", "worker-4998") // the last by namespace, shop, and name
	p.wait(`document.querySelectorAll("#room .row").length < 100`)
	p.picture("many")
}
