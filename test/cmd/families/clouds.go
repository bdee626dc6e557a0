package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/api/metric"

	"github.com/sluice-autoscaler/sluice/test/brokers"
	"github.com/sluice-autoscaler/sluice/test/servers"
	"github.com/sluice-autoscaler/sluice/test/servers/gcloud"
)

// cloudSources are types of hosted services, whose triggers need a Secret. What
// cannot run here has a stand-in that checks tokens and is otherwise brief.
func cloudSources(ctx context.Context, address string, ends *closing) ([]source, error) {
	var all []source
	for _, start := range []func(context.Context, string, *closing) ([]source, error){azureStorage, azureQueries, google, datadog} {
		sources, err := start(ctx, address, ends)
		if err != nil {
			return nil, err
		}
		all = append(all, sources...)
	}
	return all, nil
}

// azureStorage is a queue for each trigger, in Azurite.
func azureStorage(ctx context.Context, address string, ends *closing) ([]source, error) {
	server, err := servers.StartAzurite(ctx, servers.AzuriteOptions{Address: address})
	if err != nil {
		return nil, err
	}
	ends.add(server.Close)
	return []source{{
		name: "azure-queue", family: "azure", triggerType: "azure-queue", costs: true,
		login: map[string]string{"connection": server.Connection()},
		of:    func(i int) map[string]string { return map[string]string{"queueName": name(i), "queueLength": "1"} },
		prepare: func(ctx context.Context, n int) error {
			for i := range n {
				if _, err := brokers.NewAzureQueue(ctx, server, name(i)); err != nil {
					return err
				}
			}
			return nil
		},
	}}, nil
}

// secured serves with a certificate that the family trusts, whose authority is in
// the file.
func secured(ctx context.Context, address string, ends *closing, handler http.Handler) (url, file string, err error) {
	authority, err := servers.NewAuthority()
	if err != nil {
		return "", "", err
	}
	certificate, key, err := authority.Server(address)
	if err != nil {
		return "", "", err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "families-tls")
	if err != nil {
		return "", "", err
	}
	ends.add(func() error { return os.RemoveAll(dir) })
	file = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, authority.CA, 0o600); err != nil {
		return "", "", err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return "", "", err
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Second, Handler: handler,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	ends.add(server.Close)
	return "https://" + listener.Addr().String(), file, nil
}

// azureQueries are Entra, Azure Monitor and Log Analytics at one address.
func azureQueries(ctx context.Context, address string, ends *closing) ([]source, error) {
	const token = "for-the-application"
	url, file, err := secured(ctx, address, ends, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"):
			fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, token)
		case r.Header.Get("Authorization") != "Bearer "+token:
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/Microsoft.Insights/metrics"):
			start, _, _ := strings.Cut(r.URL.Query().Get("timespan"), "/")
			var values []any
			for _, name := range strings.Split(r.URL.Query().Get("metricnames"), ",") {
				values = append(values, map[string]any{"name": map[string]any{"value": name}, "timeseries": []any{
					map[string]any{"data": []any{map[string]any{"timeStamp": start, "average": 0}}},
				}})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"interval": "PT1M", "value": values}) // who no longer listens needs no answer
		default:
			fmt.Fprint(w, `{"tables":[{"name":"PrimaryResult","columns":[{"name":"n","type":"long"}],"rows":[[0]]}]}`)
		}
	}))
	if err != nil {
		return nil, err
	}
	cloud := map[string]string{"cloud": "Private", "activeDirectoryEndpoint": url + "/", "tenantId": "11111111-2222-3333-4444-555555555555"}
	with := func(more map[string]string) map[string]string {
		for key, value := range cloud {
			more[key] = value
		}
		return more
	}
	all := []source{
		{
			triggerType: "azure-monitor", login: map[string]string{"activeDirectoryClientId": "application", "activeDirectoryClientPassword": "secret"},
			metadata: with(map[string]string{
				"azureResourceManagerEndpoint": url, "resourceURI": "Microsoft.ServiceBus/namespaces/shop", "subscriptionId": "sub",
				"resourceGroupName": "rg", "metricAggregationType": "Average", "targetValue": "1",
			}),
			of: func(i int) map[string]string { return map[string]string{"metricName": name(i)} },
		},
		{
			triggerType: "azure-log-analytics", login: map[string]string{"clientId": "application", "clientSecret": "secret"},
			metadata: with(map[string]string{"logAnalyticsResourceURL": url, "workspaceId": "w-1", "threshold": "1"}),
			of: func(i int) map[string]string {
				return map[string]string{"query": fmt.Sprintf("Orders | where queue == %d | count", i)}
			},
		},
	}
	for i := range all {
		all[i].name, all[i].family, all[i].costs = all[i].triggerType, "azure", true
		all[i].args, all[i].env = []string{"--identity-hosts=" + address}, []string{"SSL_CERT_FILE=" + file}
	}
	return all, nil
}

// google is Cloud Monitoring, with a subscription for each trigger.
func google(_ context.Context, address string, ends *closing) ([]source, error) {
	issuer, err := gcloud.StartIssuer(address)
	if err != nil {
		return nil, err
	}
	ends.add(issuer.Close)
	monitoring, err := gcloud.StartMonitoring(address, issuer)
	if err != nil {
		return nil, err
	}
	ends.add(monitoring.Close)
	const reader = "reader@shop.iam.gserviceaccount.com"
	key, err := issuer.Key(reader, "shop")
	if err != nil {
		return nil, err
	}
	monitoring.Allow("shop", reader)
	return []source{{
		name: "gcp-pubsub", family: "gcp", triggerType: "gcp-pubsub", costs: true,
		args:     []string{"--monitoring-endpoint=http://" + monitoring.Address(), "--identity-hosts=" + address},
		login:    map[string]string{"GoogleApplicationCredentials": key},
		metadata: map[string]string{"mode": "NumUndeliveredMessages", "value": "1"},
		of:       func(i int) map[string]string { return map[string]string{"subscriptionName": name(i)} },
		prepare: func(_ context.Context, n int) error {
			var series []gcloud.Series
			for i := range n {
				series = append(series, gcloud.Series{
					Project: "shop", Metric: "pubsub.googleapis.com/subscription/num_undelivered_messages", Kind: metric.MetricDescriptor_GAUGE,
					Resource: "pubsub_subscription", ID: map[string]string{"subscription_id": name(i)},
					Points: []gcloud.Point{{Value: gcloud.Int(0)}},
				})
			}
			monitoring.Set(series...)
			return nil
		},
	}}, nil
}

// datadog is a Cluster Agent with a DatadogMetric for each trigger.
func datadog(ctx context.Context, address string, ends *closing) ([]source, error) {
	const token = "of-the-agent"
	url, _, err := secured(ctx, address, ends, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, metric, found := strings.Cut(r.URL.Path, "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/")
		if !found || r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"kind":"ExternalMetricValueList","items":[{"metricName":%q,"value":"0"}]}`, metric)
	}))
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(url, "https://"))
	if err != nil {
		return nil, err
	}
	last := strings.LastIndex(host, ".")
	if last < 0 {
		return nil, errors.New("the address has no dot")
	}
	return []source{{
		name: "datadog", family: "datadog", triggerType: "datadog", costs: true,
		// Its Service and its namespace make the address.
		login: map[string]string{
			"datadogMetricsService": host[:last], "datadogNamespace": host[last+1:], "datadogMetricsServicePort": port,
			"unsafeSsl": "true", "authMode": "bearer", "token": token,
		},
		metadata: map[string]string{"useClusterAgentProxy": "true", "datadogMetricNamespace": "shop", "targetValue": "1"},
		of:       func(i int) map[string]string { return map[string]string{"datadogMetricName": name(i)} },
	}}, nil
}

// keeper stands in for the API server: it has one Secret, and the
// TriggerAuthentication that takes all parameters from it. It returns the file by
// which a family finds it.
func keeper(ctx context.Context, login map[string]string, ends *closing) (kubeconfig string, err error) {
	var references []any
	data := map[string][]byte{}
	for parameter, value := range login {
		references = append(references, map[string]any{"parameter": parameter, "name": authentication, "key": parameter})
		data[parameter] = []byte(value)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return "", err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		object := map[string]any{"metadata": map[string]any{"name": authentication, "namespace": "default", "resourceVersion": "1", "uid": "1"}}
		switch {
		case strings.HasSuffix(r.URL.Path, "/triggerauthentications/"+authentication):
			object["spec"] = map[string]any{"secretTargetRef": references}
		case strings.HasSuffix(r.URL.Path, "/secrets/"+authentication):
			object["data"] = data
		default:
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object) // who no longer listens needs no answer
	})}
	go func() { _ = server.Serve(listener) }()
	ends.add(server.Close)
	dir, err := os.MkdirTemp("", "families-cluster")
	if err != nil {
		return "", err
	}
	ends.add(func() error { return os.RemoveAll(dir) })
	kubeconfig = filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"http://%s"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`, listener.Addr())
	return kubeconfig, os.WriteFile(kubeconfig, []byte(text), 0o600)
}

// authentication is the name of the only Secret and of what refers to it.
const authentication = "login"
