package plan

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The picture: one panel of the value and one of the replicas, over one axis of
// time, in pixels.
const (
	pictureWidth, pictureHeight = 960, 480
	left, right                 = 64, 24
	valueTop, valueBottom       = 56, 176
	countTop, countBottom       = 216, 436
)

var (
	sideColors = []string{"#8a8f98", "#0b6bcb"}
	sideDashes = []string{` stroke-dasharray="5 3"`, ""}
)

// Picture draws the report as an SVG that needs nothing else.
func (report *Report) Picture(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n", pictureWidth, pictureHeight)
	title := fmt.Sprintf("%s, %s to %s", report.Object, report.From.Format(time.RFC3339), report.To.Format(time.RFC3339))
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", escaped(title))
	text(&b, left, 20, "start", "#16191d", title)
	report.legend(&b)
	values := valueSteps(report.values)
	top := 0.0
	for _, s := range values {
		top = max(top, s.value)
	}
	report.panel(&b, "value", valueTop, valueBottom, top)
	report.path(&b, values, valueTop, valueBottom, top, "#c2600a", "")
	most := 1.0
	for _, o := range report.sides() {
		most = max(most, float64(o.MaxReplicas))
	}
	report.panel(&b, "replicas", countTop, countBottom, most)
	for i, o := range report.sides() {
		report.path(&b, o.steps(report.From), countTop, countBottom, most, colorOf(report, i), dashOf(report, i))
	}
	const marks = 6
	for i := range marks + 1 {
		at := report.From.Add(report.To.Sub(report.From) * time.Duration(i) / marks)
		text(&b, report.x(at), countBottom+20, "middle", "#5b626b", at.Format(layout(report.To.Sub(report.From))))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// layout is as much of a time as tells one mark from the next.
func layout(took time.Duration) string {
	switch {
	case took > 48*time.Hour:
		return "2 Jan 15:04"
	case took > 10*time.Minute:
		return "15:04"
	}
	return "15:04:05"
}

// colorOf and dashOf have the file's side look the same, alone or not.
func colorOf(report *Report, side int) string { return sideColors[side+2-len(report.sides())] }
func dashOf(report *Report, side int) string  { return sideDashes[side+2-len(report.sides())] }

func (report *Report) legend(b *strings.Builder) {
	x := float64(left)
	for i, o := range report.sides() {
		label := fmt.Sprintf("%s: %.2f pod-hours, at most %d", o.Name, o.PodHours, o.MaxReplicas)
		fmt.Fprintf(b, `<line x1="%.0f" y1="38" x2="%.0f" y2="38" stroke="%s" stroke-width="2"%s/>`+"\n", x, x+24, colorOf(report, i), dashOf(report, i))
		text(b, x+30, 42, "start", "#16191d", label)
		x += (pictureWidth - left - right) / 2
	}
}

func (report *Report) x(at time.Time) float64 {
	return left + (pictureWidth-left-right)*at.Sub(report.From).Seconds()/report.To.Sub(report.From).Seconds()
}

func y(value, most float64, top, bottom int) float64 {
	if !(most > 0) {
		return float64(bottom)
	}
	return float64(bottom) - float64(bottom-top)*value/most
}

// panel is the frame of one, with its scale.
func (report *Report) panel(b *strings.Builder, name string, top, bottom int, most float64) {
	fmt.Fprintf(b, `<path d="M%d %dV%dH%d" fill="none" stroke="#c5cad1"/>`+"\n", left, top, bottom, pictureWidth-right)
	text(b, left-8, float64(top)+4, "end", "#5b626b", number(most))
	text(b, left-8, float64(bottom)+4, "end", "#5b626b", "0")
	text(b, left+8, float64(top)+4, "start", "#5b626b", name)
}

// path is a line in steps: of those that fall on one pixel the lowest and the
// highest are drawn, so that a month is as small as an hour.
func (report *Report) path(b *strings.Builder, steps []stepped, top, bottom int, most float64, color, dash string) {
	if len(steps) == 0 {
		return
	}
	var d strings.Builder
	column, low, high, now := -1, 0.0, 0.0, 0.0
	flush := func() {
		if column < 0 {
			return
		}
		if low != high {
			fmt.Fprintf(&d, "V%.1fV%.1f", y(low, most, top, bottom), y(high, most, top, bottom))
		}
		fmt.Fprintf(&d, "V%.1f", y(now, most, top, bottom))
	}
	for i, s := range steps {
		at := report.x(s.at)
		if i == 0 {
			fmt.Fprintf(&d, "M%.0f %.1f", at, y(s.value, most, top, bottom))
		}
		if int(at) != column {
			flush()
			fmt.Fprintf(&d, "H%d", int(at))
			column, low, high = int(at), s.value, s.value
		}
		low, high, now = min(low, s.value), max(high, s.value), s.value
	}
	flush()
	fmt.Fprintf(&d, "H%d", pictureWidth-right)
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"%s/>`+"\n", d.String(), color, dash)
}

func text(b *strings.Builder, x, y float64, anchor, color, words string) {
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, color, escaped(words))
}

func escaped(words string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(words)) // a builder takes everything
	return b.String()
}
