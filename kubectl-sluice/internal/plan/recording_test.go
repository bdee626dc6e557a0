package plan

import (
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-autoscaler/sluice/controller/scaling"
)

func TestReadCSV(t *testing.T) {
	r, err := ReadCSV("values.csv", strings.NewReader("\ufeffvalue, Trigger ,time\n"+
		"5,0,2026-05-04T12:01:00Z\n-2.5,0,1777896000\n,0,1777896120.5\nError,0,2026-05-04T14:03:00+02:00\n7,s1-a,1777896000\n3,replicas,1777896000\n"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	want := &Recording{From: "values.csv", Series: map[string][]Point{
		"0": {
			{at(0), scaling.Value, -2.5}, {at(60), scaling.Value, 5},
			{at(120.5), scaling.NoData, 0}, {at(180), scaling.Failed, 0},
		},
		"s1-a": {{at(0), scaling.Value, 7}},
	}, Replicas: []Point{{at(0), scaling.Value, 3}}}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v\nwant %+v", r, want)
	}
}

// TestWhatIsWrongWithACSV is told with file, row and column, all of it at once.
func TestWhatIsWrongWithACSV(t *testing.T) {
	many := strings.Repeat("x,0,y\n", 30)
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"empty":      {"", []string{"v.csv: is empty; it has columns time, trigger and value, named by its first row"}},
		"no columns": {"a,b\n1,2\n", []string{"v.csv, row 1: names no column time", "v.csv, row 1: names no column value"}},
		"no rows":    {"time,value\n", []string{"v.csv: has no values"}},
		"rows": {
			"time,trigger,value\nyesterday,0,5\n1777888800000,0,5\n1777888800,0,five\n1777888830,0,NaN\nx,0,y\n",
			[]string{
				`v.csv, row 2, time: "yesterday" is neither a time such as 2026-05-04T12:00:00Z nor seconds since 1970`,
				`v.csv, row 3, time: "1777888800000" is no number of seconds since 1970; milliseconds are divided by 1000`,
				`v.csv, row 4, value: "five" is neither a number, nor empty for no data, nor error`,
				`v.csv, row 5, value: "NaN" is neither a number, nor empty for no data, nor error`,
				`v.csv, row 6, time: "x" is neither`, `v.csv, row 6, value: "y" is neither`,
			},
		},
		"many":       {"time,trigger,value\n" + many, []string{"v.csv, row 11, value", "and 40 more"}},
		"twice":      {"time,trigger,value\n1777888800,0,5\n1777888800,0,6\n", []string{`v.csv: trigger "0" has two values of 2026-05-04T10:00:00Z`}},
		"one moment": {"time,value\n1777888800,5\n", []string{"v.csv: has values of one moment alone"}},
		"long":       {"time,value\n1777888800,5\n1787888800,5\n", []string{"more than the 744h0m0s that can be replayed"}},
		"quotes":     {"time,value\n1777888800,\"5\n", []string{"v.csv: parse error on line 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadCSV("v.csv", strings.NewReader(tt.text))
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nwant %s", err, want)
				}
			}
		})
	}
}

// endless is a file that does not end.
type endless struct {
	row []byte
	at  int
}

func (e *endless) Read(p []byte) (n int, err error) {
	for n < len(p) {
		copied := copy(p[n:], e.row[e.at:])
		n, e.at = n+copied, (e.at+copied)%len(e.row)
	}
	return n, nil
}

func TestRecordingsAreBounded(t *testing.T) {
	head := strings.NewReader("time,trigger,value\n")
	for name, tt := range map[string]struct {
		rows io.Reader
		want string
	}{
		"bytes":  {&endless{row: []byte("1777888800,0," + strings.Repeat("1", 2000) + "\n")}, "has more than 64 KiB"},
		"values": {&endless{row: []byte("1777888800,0,1\n")}, "has more than 3000 values"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = head.Seek(0, io.SeekStart)
			if _, err := readCSV("v.csv", io.MultiReader(head, tt.rows), 64<<10, 3000); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	var text strings.Builder
	for i := range 1100 {
		fmt.Fprintf(&text, "1777888800,t%d,1\n", i)
	}
	_, _ = head.Seek(0, io.SeekStart)
	if _, err := ReadCSV("v.csv", io.MultiReader(head, strings.NewReader(text.String()))); err == nil || !strings.Contains(err.Error(), "more than 1000 different ones") {
		t.Error(err)
	}
}

// TestAReplayIsBounded has one whose replicas and readings are too many.
func TestAReplayIsBounded(t *testing.T) {
	r := recorded(map[int]float64{0: 1, 31 * 24 * 3600: 1})
	o := usual
	o.steps = 1000
	if _, err := Run(t.Context(), r, nil, side(t, "pollingInterval: 1"), nil, o); err == nil || !strings.Contains(err.Error(), "has more than 1000 readings and syncs") {
		t.Error(err)
	}
	if _, err := Run(t.Context(), r, nil, side(t, "maxReplicaCount: 2000000000"), nil, usual); err == nil || !strings.Contains(err.Error(), "maxReplicaCount: 2000000000 is more than the 100000 replicas that can be replayed") {
		t.Error(err)
	}
}

// FuzzReadCSV: whatever a file has, what is read of it is in order and of numbers.
func FuzzReadCSV(f *testing.F) {
	f.Add("time,trigger,value\n1777888800,0,5\n1777888830,0,error\n2026-05-04T12:00:00Z,0,\n")
	f.Add("value,time\n\"1\n\",1e9\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ReadCSV("v.csv", strings.NewReader(text))
		if err != nil {
			return
		}
		for _, points := range r.Series {
			for i, p := range points {
				if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) || i > 0 && !p.At.After(points[i-1].At) {
					t.Errorf("%+v", points)
				}
			}
		}
	})
}

// FuzzDecode: whatever a Prometheus answers.
func FuzzDecode(f *testing.F) {
	f.Add(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"metric":"s0-a","triggerIndex":"0"},"values":[[1777888800,"5"],[1777888830.5,"NaN"]]}]}}`)
	f.Add(`{"status":"error","error":"no"}`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := decode([]byte(text))
		if err != nil {
			return
		}
		for _, m := range all {
			for _, p := range m.points {
				if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) || p.At.Year() < 1970 {
					t.Errorf("%+v", p)
				}
			}
		}
	})
}

func TestProblemsAreTheirCauses(t *testing.T) {
	cause := errors.New("cause")
	var p problems
	if p.err() != nil {
		t.Error(p.err())
	}
	if p.add("x: %w", cause); !errors.Is(p.err(), cause) {
		t.Error(p.err())
	}
}
