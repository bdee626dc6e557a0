package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluice-autoscaler/sluice/scalers/scaler"
	"github.com/sluice-autoscaler/sluice/scalers/scaler/scalertest"
	"github.com/sluice-autoscaler/sluice/test/servers"
)

var _ = contract("aws-cloudwatch", kind{
	make: func(t testing.TB, m *servers.MotoServer, name string) { datapoint(t, m, name, 3) },
	metadata: func(name string) map[string]string {
		return map[string]string{"namespace": "shop", "metricName": name, "targetMetricValue": "1", "minMetricValue": "0",
			"metricCollectionTime": "3600", "metricStatPeriod": "60"}
	},
	value: 3,
	what:  "metric shop/NAME: CloudWatch GetMetricData: ",
	// Without a datapoint it is minMetricValue, as its user chose.
})

// datapoint puts one value into a metric. It is three minutes old, so that it
// lies in a window of an hour whenever that ends.
func datapoint(t testing.TB, m *servers.MotoServer, metric string, value float64, dimensions ...string) {
	t.Helper()
	var list []types.Dimension
	for i := 0; i < len(dimensions); i += 2 {
		list = append(list, types.Dimension{Name: &dimensions[i], Value: &dimensions[i+1]})
	}
	_, err := newCloudWatch(owner(m)).PutMetricData(within(t), &cloudwatch.PutMetricDataInput{
		Namespace: aws.String("shop"),
		MetricData: []types.MetricDatum{{
			MetricName: &metric, Dimensions: list, Value: &value, Timestamp: aws.Time(time.Now().Add(-3 * time.Minute)),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// orders is a trigger on one metric, in a window of an hour.
var orders = map[string]string{
	"namespace": "shop", "metricName": "orders", "dimensionName": "queue;state", "dimensionValue": "a;new",
	"targetMetricValue": "2", "minMetricValue": "1", "metricCollectionTime": "3600", "metricStatPeriod": "60",
}

func TestCloudWatch(t *testing.T) {
	m := servers.SharedMoto(t)
	datapoint(t, m, "orders", 7, "queue", "a", "state", "new")
	datapoint(t, m, "orders", 9, "queue", "b", "state", "new")
	datapoint(t, m, "bare", 5)
	family := scalertest.Serve(t, triggers...).WithAuth(keys)
	tests := map[string]struct {
		metadata map[string]string // on top of orders
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"the newest datapoint":        {want: scalertest.Observation{Value: 7, Active: true}},
		"every dimension counts":      {metadata: map[string]string{"dimensionValue": "b;new"}, want: scalertest.Observation{Value: 9, Active: true}},
		"a metric without dimensions": {metadata: map[string]string{"metricName": "bare", "dimensionName": "", "dimensionValue": ""}, want: scalertest.Observation{Value: 5, Active: true}},
		"at the threshold":            {metadata: map[string]string{"activationTargetMetricValue": "7"}, want: scalertest.Observation{Value: 7}},
		"no data is the minimum":      {metadata: map[string]string{"metricName": "bills"}, want: scalertest.Observation{Value: 1, Active: true}},
		"no data is an error": {metadata: map[string]string{"metricName": "bills", "ignoreNullValues": "false"}, code: codes.NotFound,
			message: "metric shop/bills: the metric data is empty and ignoreNullValues is false"},
		"a window in the past": {metadata: map[string]string{"metricEndTimeOffset": "7200"}, want: scalertest.Observation{Value: 1, Active: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := family.Observe(t.Context(), "aws-cloudwatch", at(m.URL(), orders, tt.metadata))
			checkError(t, "aws-cloudwatch", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestCloudWatchParameters(t *testing.T) {
	family := scalertest.Serve(t, cloudWatch)
	tests := map[string]struct {
		metadata map[string]string // on top of orders, asked by the family itself
		message  string
	}{
		"all that an expression replaces": {metadata: map[string]string{"namespace": "", "metricName": "", "dimensionName": "", "dimensionValue": "", "expression": "SELECT 1"}},
		"no metric": {metadata: map[string]string{"namespace": "", "metricName": ""},
			message: "namespace: is required without expression; metricName: is required without expression"},
		"names without values": {metadata: map[string]string{"dimensionValue": ""}, message: "dimensionValue: is required with dimensionName"},
		"values without names": {metadata: map[string]string{"dimensionName": ""}, message: "dimensionName: is required with dimensionValue"},
		"lists of two lengths": {metadata: map[string]string{"dimensionValue": "a"}, message: "dimensionName: has 2 names for 1 values of dimensionValue"},
		"an unknown unit":      {metadata: map[string]string{"metricUnit": "Dozen"}, message: `metricUnit: "Dozen" is not one of Seconds, Microseconds`},
		"a known unit":         {metadata: map[string]string{"metricUnit": "Count"}},
		"a period below 1":     {metadata: map[string]string{"metricStatPeriod": "0"}, message: "metricStatPeriod: 0 is less than 1"},
		"a small period":       {metadata: map[string]string{"metricStatPeriod": "20"}, message: "metricStatPeriod: 20 is not one of 1, 5, 10, 30, 60 or a multiple of 60"},
		"an odd period":        {metadata: map[string]string{"metricStatPeriod": "90"}, message: "metricStatPeriod: 90 is not a multiple of 60"},
		"no window":            {metadata: map[string]string{"metricCollectionTime": "0"}, message: "metricCollectionTime: 0 is not greater than 0"},
		"a part of a period":   {metadata: map[string]string{"metricCollectionTime": "3630"}, message: "metricCollectionTime: 3630 is not a multiple of metricStatPeriod 60"},
		"what is required": {metadata: map[string]string{"targetMetricValue": "", "minMetricValue": "", "awsRegion": ""},
			message: "targetMetricValue: is required (looked in metadata); minMetricValue: is required (looked in metadata); awsRegion: is required"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			specs, err := family.Specs(t.Context(), "aws-cloudwatch", at("http://cloudwatch.example.com", orders, map[string]string{"identityOwner": "operator"}, tt.metadata))
			code := codes.OK
			if tt.message != "" {
				code = codes.InvalidArgument
			}
			checkError(t, "aws-cloudwatch", err, code, tt.message)
			if err == nil && (specs[0].GetMetricName() != "aws-cloudwatch" || specs[0].GetTargetSizeFloat() != 2) {
				t.Errorf("metric = %v", specs[0])
			}
		})
	}
}

func TestCloudWatchWindow(t *testing.T) {
	p := cloudWatchParams{MetricCollectionTime: 600, MetricStatPeriod: 300, MetricEndTimeOffset: 60}
	got := p.window(time.Unix(10_000, 0)) // minus 60, down to a multiple of 300
	if got.end.Unix() != 9_900 || got.start.Unix() != 9_300 {
		t.Errorf("window = %d to %d, want 9300 to 9900", got.start.Unix(), got.end.Unix())
	}
}

// queries are those of a request to GetMetricData.
func queries(body map[string]any) []map[string]any {
	list, _ := body["MetricDataQueries"].([]any)
	all := make([]map[string]any, len(list))
	for i, one := range list {
		all[i], _ = one.(map[string]any)
	}
	return all
}

// metricName is that of one query.
func metricName(query map[string]any) string {
	stat, _ := query["MetricStat"].(map[string]any)
	metric, _ := stat["Metric"].(map[string]any)
	name, _ := metric["MetricName"].(string)
	return name
}

// fleet stands in for CloudWatch, to count requests and to fail chosen metrics:
// the value of metric m<i> is i, in pages of 300 series.
func fleet(t testing.TB, poisoned string) *handler {
	return newHandler(t, func(_ string, body map[string]any) (int, string) {
		asked := queries(body)
		start, _ := body["NextToken"].(string)
		first, _ := strconv.Atoi(start) // 0 at first
		var series []string
		for i, query := range asked {
			name := metricName(query)
			if name == poisoned {
				return http.StatusBadRequest, `{"__type":"com.amazonaws#ValidationError"}`
			}
			if i >= first && i < first+300 {
				series = append(series, fmt.Sprintf(`{"Id":%q,"Label":%q,"Timestamps":[1],"Values":[%s],"StatusCode":"Complete"}`,
					query["Id"], name, strings.TrimPrefix(name, "m")))
			}
		}
		next := ""
		if first+300 < len(asked) {
			next = fmt.Sprintf(`,"NextToken":"%d"`, first+300)
		}
		return http.StatusOK, `{"MetricDataResults":[` + strings.Join(series, ",") + `]` + next + `}`
	})
}

func openMetrics(t testing.TB, h *handler, n int) []scaler.Source {
	t.Helper()
	ctx, release := scaler.Opening(t.Context())
	t.Cleanup(release)
	sources := make([]scaler.Source, n)
	for i := range sources {
		p := cloudWatchParams{
			awsParams: params(h), Namespace: "shop", MetricName: fmt.Sprintf("m%d", i),
			MetricStat: "Sum", MetricStatPeriod: 60, MetricCollectionTime: 600, IgnoreNullValues: true,
		}
		source, err := openCloudWatch(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		sources[i] = source
	}
	return sources
}

// TestAThousandMetricsInFewRequests: two batches of 500, each answered in two
// pages.
func TestAThousandMetricsInFewRequests(t *testing.T) {
	h := fleet(t, "none")
	sources := openMetrics(t, h, 1000)
	batch := sources[0].(scaler.Batched).Batch()
	for first := 0; first < len(sources); first += 500 {
		if sources[first].(scaler.Batched).Batch() != batch {
			t.Fatal("metrics of one service are not read together")
		}
		results := scaler.ReadTogether(within(t), batch, sources[first:first+500]...)
		for i, result := range results {
			if result.Err != nil || result.Readings[0].Value != float64(first+i) {
				t.Fatalf("metric m%d: %v, %v", first+i, result.Readings, result.Err)
			}
		}
	}
	if h.requests() != 4 {
		t.Errorf("%d requests, want 4", h.requests())
	}
}

func TestAPoisonedMetricBlindsNoOther(t *testing.T) {
	h := fleet(t, "m7")
	sources := openMetrics(t, h, 16)
	results := scaler.ReadTogether(within(t), sources[0].(scaler.Batched).Batch(), sources...)
	for i, result := range results {
		if bad := i == 7; bad != (result.Err != nil) {
			t.Errorf("metric m%d: %v, %v", i, result.Readings, result.Err)
		}
	}
	if want := "metric shop/m7: CloudWatch GetMetricData: ValidationError"; !strings.HasSuffix(fmt.Sprint(results[7].Err), want) {
		t.Errorf("error = %v, want %s", results[7].Err, want)
	}
	if h.requests() != 9 { // 16, twice 8, 4, 2 and 1
		t.Errorf("%d requests to find one in 16", h.requests())
	}
	scaler.ReadTogether(within(t), sources[0].(scaler.Batched).Batch(), sources...)
	if h.requests() != 9+2 {
		t.Errorf("%d requests once it is known", h.requests()-9)
	}
}

// TestWrongMetricsWaitForOthers has somebody else ask for very many metrics that
// CloudWatch does not take.
func TestWrongMetricsWaitForOthers(t *testing.T) {
	asked := make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) })
	h := &handler{Server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			t.Error(err)
			return
		}
		if metricName(queries(body)[0]) == "m0" {
			ask()
		}
		select { // the others keep all places that they get
		case <-asked:
		case <-request.Context().Done():
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type":"com.amazonaws#ValidationError"}`)
	}))}
	t.Cleanup(h.Close)
	sources := openMetrics(t, h, 300)
	for _, wrong := range sources[1:] {
		wrong.(cloudWatchMetric).refused.Store(true)
	}
	scaler.ReadTogether(within(t), sources[0].(scaler.Batched).Batch(), sources...)
	select {
	case <-asked:
	default:
		t.Error("it waits for them")
	}
}

// TestWhatCloudWatchAnswersStays has trouble with a part of what is asked for:
// another account, another window, a later page. Everything else is answered.
func TestWhatCloudWatchAnswersStays(t *testing.T) {
	const refused = `{"__type":"com.amazonaws#AccessDeniedException"}`
	stands := func(query map[string]any) string {
		return fmt.Sprintf(`{"Id":%q,"Label":%q,"Timestamps":[1],"Values":[3],"StatusCode":"Complete"}`, query["Id"], metricName(query))
	}
	tests := map[string]struct {
		spoil  func(p *cloudWatchParams) // the odd ones
		answer func(body map[string]any, odd bool) (int, string)
		code   codes.Code
	}{
		"a refused account": {
			spoil: func(p *cloudWatchParams) { p.AWSAccountID = "210987654321" },
			answer: func(body map[string]any, _ bool) (int, string) {
				for _, query := range queries(body) {
					if query["AccountId"] != nil {
						return http.StatusBadRequest, refused
					}
				}
				return 0, ""
			},
			code: codes.PermissionDenied,
		},
		"another window": {
			spoil: func(p *cloudWatchParams) { p.MetricCollectionTime = 1200 },
			answer: func(_ map[string]any, odd bool) (int, string) {
				if odd {
					return http.StatusBadRequest, refused
				}
				return 0, ""
			},
			code: codes.PermissionDenied,
		},
		"a later page": {
			spoil: func(p *cloudWatchParams) { p.MetricName = "late" },
			answer: func(body map[string]any, _ bool) (int, string) {
				if body["NextToken"] != nil {
					return http.StatusBadRequest, refused
				}
				var series []string
				for _, query := range queries(body) {
					if metricName(query) != "late" {
						series = append(series, stands(query))
					}
				}
				return http.StatusOK, `{"MetricDataResults":[` + strings.Join(series, ",") + `],"NextToken":"more"}`
			},
			code: codes.PermissionDenied,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t, func(_ string, body map[string]any) (int, string) {
				asked := queries(body)
				odd := false
				var series []string
				for _, query := range asked {
					number, _ := strconv.Atoi(strings.TrimPrefix(metricName(query), "m"))
					odd = odd || number%2 == 1
					series = append(series, stands(query))
				}
				if code, answer := tt.answer(body, odd); code != 0 {
					return code, answer
				}
				return http.StatusOK, `{"MetricDataResults":[` + strings.Join(series, ",") + `]}`
			})
			sources := openMetrics(t, h, 10)
			for i := 1; i < len(sources); i += 2 {
				tt.spoil(&sources[i].(cloudWatchMetric).params)
			}
			for i, result := range scaler.ReadTogether(within(t), sources[0].(scaler.Batched).Batch(), sources...) {
				switch odd := i%2 == 1; {
				case odd && status.Code(result.Err) != tt.code:
					t.Errorf("metric m%d: %v, want %v", i, result.Err, tt.code)
				case !odd && (result.Err != nil || result.Readings[0].Value != 3):
					t.Errorf("metric m%d: %v, %v", i, result.Readings, result.Err)
				}
			}
		})
	}
}

// TestCloudWatchSeries has series that Moto does not give.
func TestCloudWatchSeries(t *testing.T) {
	family := scalertest.Serve(t, cloudWatch).WithAuth(keys)
	expression := map[string]string{"expression": "SELECT SUM(orders) FROM shop", "ignoreNullValues": "false"}
	strict := map[string]string{"ignoreNullValues": "false"}
	tests := map[string]struct {
		metadata map[string]string
		answer   string
		want     scalertest.Observation
		code     codes.Code
		message  string
	}{
		"an expression": {metadata: expression, answer: `{"MetricDataResults":[{"Id":"q1","Values":[4,3],"StatusCode":"Complete"},{"Id":"q1","Label":"second","Values":[8]}]}`,
			want: scalertest.Observation{Value: 4, Active: true}},
		"a part of the data": {answer: `{"MetricDataResults":[{"Id":"c1","Values":[4],"StatusCode":"PartialData"}]}`, want: scalertest.Observation{Value: 4, Active: true}},
		"a series without values": {metadata: strict, answer: `{"MetricDataResults":[{"Id":"c1","Values":[],"StatusCode":"Complete"}]}`, code: codes.NotFound,
			message: "metric shop/orders: the metric data is empty and ignoreNullValues is false"},
		"no series":         {metadata: strict, answer: `{"MetricDataResults":[]}`, code: codes.NotFound, message: "metric shop/orders: the metric data is empty and ignoreNullValues is false"},
		"no expression":     {metadata: expression, answer: `{}`, code: codes.NotFound, message: "expression: the metric data is empty and ignoreNullValues is false"},
		"no series, minded": {answer: `{"MetricDataResults":[]}`, want: scalertest.Observation{Value: 1, Active: true}},
		"an internal error": {answer: `{"MetricDataResults":[{"Id":"c1","Values":[],"StatusCode":"InternalError"}]}`, code: codes.Unavailable,
			message: "metric shop/orders: CloudWatch has an internal error"},
		"forbidden": {answer: `{"MetricDataResults":[{"Id":"c1","Values":[],"StatusCode":"Forbidden"}]}`, code: codes.PermissionDenied, message: "metric shop/orders: Forbidden"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var query map[string]any
			h := newHandler(t, func(_ string, body map[string]any) (int, string) {
				query = queries(body)[0]
				return http.StatusOK, tt.answer
			})
			got, err := family.Observe(t.Context(), "aws-cloudwatch", at(h.URL, orders, map[string]string{"awsAccountId": "210987654321"}, tt.metadata))
			checkError(t, "aws-cloudwatch", err, tt.code, tt.message)
			if got != tt.want {
				t.Errorf("observation = %+v, want %+v", got, tt.want)
			}
			if query["AccountId"] != "210987654321" || query["Expression"] != nil && (query["Id"] != "q1" || query["Period"] != 60.0) {
				t.Errorf("asked %v", query)
			}
		})
	}
}
