package ui

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sluice-autoscaler/sluice/controller/account"
	"github.com/sluice-autoscaler/sluice/controller/api/v1alpha1"
	"github.com/sluice-autoscaler/sluice/controller/scaling"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/top"
	"github.com/sluice-autoscaler/sluice/kubectl-sluice/internal/why"
)

// stepTime is how long each step may take: none of them hangs.
const stepTime = time.Minute

// page is the page in a real Chromium.
type page struct {
	context.Context
	t *testing.T
}

// open opens a page in a browser of its own. What the page says in its console, or
// asks of anybody else, fails the test, but for what has an expected text in it.
func open(t *testing.T, server *Server, expected ...string) page {
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
	ctx, cancel := context.WithTimeout(tab, 5*time.Minute)
	t.Cleanup(func() {
		cancel()
		closeTab()
		end()
	})
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, text := range wrong {
			if !slices.ContainsFunc(expected, func(e string) bool { return strings.Contains(text, e) }) {
				t.Error(text)
			}
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

// press presses keys as a person does: what a page does itself types nothing.
func press(keys string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		for _, r := range keys {
			events := kb.Encode(r)
			down, up := *events[0], *events[len(events)-1]
			if len(events) == 3 {
				down.Text = events[1].Text
			}
			for _, event := range []input.DispatchKeyEventParams{down, up} {
				if _, err := cdp.Call(ctx, tab, input.DispatchKeyEvent, event); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// dark has whoever looks prefer dark, or light.
func dark(is bool) chromedp.Action[chromedp.Void] {
	prefers := map[bool]string{false: "light", true: "dark"}[is]
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: prefers}},
		})
		return err
	})
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

// sources are of some objects, of which each is told in full.
func sources(rows *Rows) Sources {
	began := time.Now().Add(-10 * time.Minute)
	return Sources{
		Rows: rows,
		Object: func(_ context.Context, of why.Object) (*why.Facts, error) {
			row, _, _ := rows.Points(of.Kind+"/"+of.Namespace+"/"+of.Name, time.Time{})
			so := &v1alpha1.ScaledObject{}
			so.Namespace, so.Name, so.Spec.ScaleTargetRef.Name = of.Namespace, of.Name, of.Name
			so.Spec.Triggers = []v1alpha1.ScaleTrigger{{Type: "kafka"}}
			so.Status.Conditions = v1alpha1.Conditions{
				{Type: v1alpha1.ConditionReady, Status: "True", Reason: "ScaledObjectReady", Message: "ScaledObject is defined correctly and is ready for scaling"},
				{Type: v1alpha1.ConditionActive, Status: "True", Reason: "ScalerActive", Message: "Scaling is performed because triggers are active"},
				{Type: v1alpha1.ConditionFallback, Status: "False", Reason: "NoFallbackFound", Message: row.Problem},
			}
			now := time.Now()
			replicas, backlog := *row.Replicas, *row.Backlog
			told := &account.Account{
				Now: now, Since: now, Times: 1,
				Last: scaling.Explanation{
					Time: now, Replicas: &replicas, Next: "the HPA, at its next sync", Limits: []string{"maxReplicaCount is 30"},
					Metrics: []scaling.ExplainedMetric{{Name: "s0-kafka-orders", Outcome: "value", Value: &backlog, Kind: "AverageValue", Target: 5, Active: backlog > 0, ReadAt: now, Noticed: "doorbell"}},
				},
				Changes: []v1alpha1.Decision{
					{Time: metav1.NewMicroTime(began.Add(5 * time.Minute)), Message: "0 -> 1: s0-kafka-orders is 12, which is work"},
					{Time: metav1.NewMicroTime(began.Add(8 * time.Minute)), Message: "2 -> 0: nothing to do for 300 s"},
				},
				ColdStart: &account.ColdStart{Arrived: began.Add(5 * time.Minute), Told: true, Written: began.Add(5*time.Minute + 400*time.Millisecond), Ready: began.Add(5*time.Minute + 13*time.Second), Seconds: 13},
			}
			for minute := 9; minute >= 0; minute-- {
				at, n, work := began.Add(time.Duration(minute)*time.Minute), int32(0), 0.0
				if minute > 4 && minute < 8 {
					n, work = int32(minute-4), float64(25-2*minute)
				}
				told.Earlier = append(told.Earlier, account.Decision{Since: at, Times: 3, Last: scaling.Explanation{
					Time: at, Replicas: &n, Metrics: []scaling.ExplainedMetric{{Name: "s0-kafka-orders", Outcome: "value", Value: &work, Kind: "AverageValue", Target: 5}},
				}})
			}
			return &why.Facts{Object: of, ScaledObject: so, Now: now, Account: told}, nil
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
	rows.Complete()
	p := open(t, serve(t, sources(rows)))
	p.says("#count", "7 of 7")
	p.wait(`document.getElementById("none").hidden`)
	p.says("#room", "broker-1:9092 refuses connections")
	p.picture("objects-light")

	p.run(press("/"))
	p.wait(`document.activeElement.id === "text"`)
	p.run(press("worker-0000"))
	p.wait(`document.getElementById("text").value === "worker-0000"`)
	p.says("#count", "1 of 7")
	p.run(press(kb.Escape))
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
	p.wait(fmt.Sprintf(`document.querySelector(%q).querySelector(".replicas").innerText === "4" && document.querySelector(%q).querySelector(".wakes").innerText === "1"`, line, line))

	p.run(chromedp.Click(line))
	p.says("h1", "ScaledObject shop/worker-0000")
	p.says("#figures", "4")
	p.says("#why", "s0-kafka-orders: 20 at a target of 5")
	p.says("#why", "doorbell")
	p.says("#why", "13s from work to the first ready replica")
	p.says("#figures", "13 s")
	p.says("#conditions", "ScaledObjectReady")
	p.says("#decisions", "nothing to do for 300 s")
	p.wait(`document.querySelectorAll("#object canvas").length === 2`)
	p.picture("object-light")
	p.run(dark(true))
	p.wait(`document.querySelectorAll("#object canvas").length === 2`)
	p.picture("object-dark")
	p.run(dark(false))
	rows.Set(scaled(0, "idle", 0, 0))
	p.says("#figures .state", "idle")
	p.wait(`document.querySelectorAll("#figures b")[3].innerText === "0"`)

	p.run(press("f"))
	p.says("#families", "scaler-kafka-1")
	p.says("#families", "57 of 219 MiB")
	p.says("#families", "you may not forward ports")
	p.picture("families-light")

	p.run(dark(true))
	p.picture("families-dark")
	p.run(press("o"))
	p.says(line, "idle")
	p.picture("objects-dark")
	p.run(chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2)))
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	p.wait(fmt.Sprintf(`getComputedStyle(document.querySelector(%q).querySelector(".replicas"), "::before").content.includes("replicas")`, line))
	p.picture("objects-phone")
	p.run(chromedp.Click(line))
	p.says("#why", "s0-kafka-orders")
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	p.picture("object-phone")

	p.run(press("f"))
	p.says("#families", "scaler-kafka-1")
	p.wait(`document.documentElement.scrollWidth <= innerWidth`)
	p.picture("families-phone")

	rows.Trouble("scaledjobs", "you may not list scaledjobs.keda.sh")
	p.says("#trouble", "you may not list scaledjobs.keda.sh")
}

// TestKeys goes everywhere without a mouse.
func TestKeys(t *testing.T) {
	rows := NewRows()
	for i := range 5 {
		rows.Set(scaled(i, "idle", 0, 0))
	}
	rows.Complete()
	p := open(t, serve(t, sources(rows)))
	p.says("#count", "5 of 5")
	p.wait(`!location.href.includes("token") && document.title === "Sluice"`)
	first := `document.querySelector("#list").getAttribute("aria-activedescendant") === document.querySelector("[aria-selected=true]")?.id`
	p.run(press("j"))
	p.wait(first + ` && document.querySelector("[aria-selected=true]").dataset.key === "ScaledObject/billing/worker-0001"`)
	p.run(press(kb.ArrowDown), press("j"), press("k"))
	p.wait(`document.querySelector("[aria-selected=true]").dataset.key === "ScaledObject/billing/worker-0004"`)
	p.run(press(kb.Enter))
	p.says("h1", "billing/worker-0004")
	p.run(press(kb.Escape))
	p.wait(`document.activeElement.id === "list" && !document.getElementById("overview").hidden`)
	p.run(press("?"))
	p.wait(`document.getElementById("help").open`)
	p.picture("keys")
	p.run(press(kb.Escape))
	p.wait(`!document.getElementById("help").open`)
	p.run(press("/"))
	p.wait(`document.activeElement.id === "text"`)
	p.run(press("0003"))
	p.wait(`document.getElementById("text").value === "0003"`)
	p.says("#count", "1 of 5")
	p.run(press(kb.Enter))
	p.says("h1", "shop/worker-0003")
	p.run(press("f"))
	p.says("#families", "scaler-kafka-1")
	p.run(chromedp.Evaluate[chromedp.Void](`location.hash = "#/%E0%A4%A"`)) // no address
	p.wait(`!document.getElementById("overview").hidden`)
}

// TestTextsAreTexts: whatever somebody writes into an object, the page shows as it is.
func TestTextsAreTexts(t *testing.T) {
	rows := NewRows()
	const script = `<img src=x onerror="window.done=1"><script>window.done=1</script>`
	row, point := scaled(1, "failing", 3, 1)
	row.Problem, row.Metric, row.Namespace, row.Types, row.Families = script, script, script, []string{script}, []string{script}
	row.Key = "ScaledObject/" + row.Namespace + "/" + row.Name
	rows.Set(row, point)
	row, point = scaled(2, "failing", 3, 1)
	row.Problem, row.State = script, script
	rows.Set(row, point)
	rows.Trouble("scaledjobs", script)
	rows.Complete()
	p := open(t, serve(t, sources(rows)), "requires 'TrustedHTML' assignment")
	p.says("#count", "2 of 2")
	p.says("#trouble", script)
	p.says("#room", script)
	p.run(chromedp.Click(fmt.Sprintf(`[data-key=%q]`, row.Key)))
	p.says("#conditions", script)
	p.wait(`!document.querySelector("img") && document.scripts.length === 2 && window.done === undefined`)
	// The browser itself lets no text be more.
	p.wait(`(() => { try { document.body.innerHTML = "<b>"; return false; } catch (e) { return e instanceof TypeError; } })()`)
}

// TestPageGoesAndComes: what is shown is not said to be of now while nobody tells, and
// a page that is not seen takes no connection.
func TestPageGoesAndComes(t *testing.T) {
	rows := NewRows()
	rows.Set(scaled(0, "idle", 0, 0))
	server := serve(t, sources(rows))
	rows.Complete()
	p := open(t, server, "401 (Unauthorized)")
	p.says("#count", "1 of 1")
	p.says("#live", "live")
	p.run(chromedp.Evaluate[chromedp.Void](`
		Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
		document.dispatchEvent(new Event("visibilitychange"));`))
	deadline, cancel := context.WithTimeout(t.Context(), stepTime)
	defer cancel()
	for len(server.streams) > 0 {
		if err := wait(deadline, 10*time.Millisecond); err != nil {
			t.Fatalf("%d streams of a page that is not seen", len(server.streams))
		}
	}
	rows.Delete("ScaledObject/shop/worker-0000")
	rows.Set(scaled(1, "idle", 0, 0))
	p.run(chromedp.Evaluate[chromedp.Void](`
		Object.defineProperty(document, "hidden", { configurable: true, get: () => false });
		document.dispatchEvent(new Event("visibilitychange"));`))
	p.says("#room", "worker-0001")
	p.says("#count", "1 of 1")
	p.run(chromedp.Evaluate[chromedp.Void](`localStorage.setItem("sluice-token", "AAAA"); location.hash = "#/families"`))
	p.says("#trouble", "open the address that kubectl sluice ui has printed")
}

// TestPageOfManyObjects: with 5,000 objects of which hundreds change, what is seen
// stays where it is, and what is not seen is not drawn.
func TestPageOfManyObjects(t *testing.T) {
	const objects = 5000
	rows := NewRows()
	for i := range objects {
		rows.Set(scaled(i, "idle", 0, 0))
	}
	rows.Complete()
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
