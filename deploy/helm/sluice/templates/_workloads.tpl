{{/*
"sluice.workloads" turns the values into what is to become of the Deployment of
each component, in one form: .c.workloads by the label app.kubernetes.io/name.
KEDA's keys for its operator are the controller's, and those about sources the
families'.
*/}}
{{- define "sluice.workloads" -}}
{{- $v := .v -}}
{{- $all := dict -}}

{{- /* The controller. */ -}}
{{- $w := deepCopy (dig "operator" dict $v) -}}
{{- range $key := list "affinity" "dnsPolicy" "dnsConfig" "hostAliases" -}}
  {{- if not (index $w $key) -}}{{- $_ := set $w $key (dig "webhooks" $key "" $v) -}}{{- end -}}
{{- end -}}
{{- if not $w.affinity -}}{{- $_ := set $w "affinity" (dig "affinity" dict $v) -}}{{- end -}}
{{- if and (hasKey $w "replicaCount") (dig "webhooks" "enabled" true $v) -}}{{- $_ := set $w "replicaCount" (max (int $w.replicaCount) (int (dig "webhooks" "replicaCount" 0 $v))) -}}{{- else if gt (int (dig "webhooks" "replicaCount" 0 $v)) 2 -}}{{- $_ := set $w "replicaCount" (int $v.webhooks.replicaCount) -}}{{- end -}}
{{- if dig "webhooks" "useHostNetwork" false $v -}}{{- $_ := set $w "useHostNetwork" true -}}{{- end -}}
{{- range $key := list "extraContainers" "extraInitContainers" -}}
  {{- $_ := set $w $key (concat (dig "operator" $key list $v) (dig "webhooks" $key list $v)) -}}
{{- end -}}
{{- $_ := set $w "podAnnotations" (merge (dict) (dig "podAnnotations" "webhooks" dict $v) (dig "podAnnotations" "keda" dict $v)) -}}
{{- $_ := set $w "podLabels" (merge (dict) (dig "podLabels" "webhooks" dict $v) (dig "podLabels" "keda" dict $v)) -}}
{{- $_ := set $w "resources" (dig "resources" "operator" dict $v) -}}
{{- $_ := set $w "podDisruptionBudget" (dig "podDisruptionBudget" "operator" dict $v) -}}
{{- $_ := set $w "strategy" (dig "upgradeStrategy" "operator" dict $v) -}}
{{- $_ := set $w "topologySpreadConstraints" (dig "topologySpreadConstraints" "operator" list $v) -}}
{{- $_ := set $w "volumes" (dig "volumes" "webhooks" "extraVolumes" list $v) -}}
{{- $_ := set $w "volumeMounts" (dig "volumes" "webhooks" "extraVolumeMounts" list $v) -}}
{{- $account := pick (dig "serviceAccount" "operator" dict $v) "create" "automountServiceAccountToken" -}}
{{- $_ := set $w "account" (ternary dict $account (ne .shared "")) -}}
{{- if eq .profile "keda" -}}{{- $_ := set $w "app" ($w.name | default "keda-operator") -}}{{- end -}}
{{- $_ := set $w "ports" dict -}}
{{- $_ := set $w "security" "operator" -}}
{{- $args := list -}}{{- $env := list -}}
{{- with dig "clusterName" "" $v -}}{{- $args = append $args (printf "--k8s-cluster-name=%s" .) -}}{{- end -}}
{{- $log := dig "logging" "operator" dict $v -}}
{{- with $log.level -}}{{- $args = append $args (printf "--zap-log-level=%v" .) -}}{{- end -}}
{{- with $log.format -}}{{- $args = append $args (printf "--zap-encoder=%s" .) -}}{{- end -}}
{{- with $log.timeEncoding -}}{{- $args = append $args (printf "--zap-time-encoding=%s" .) -}}{{- end -}}
{{- if or (hasKey $log "stackTracesEnabled") (hasKey $log "stackTraces") -}}
  {{- $args = append $args (printf "--zap-stacktrace-level=%s" (ternary "error" "panic" (or (dig "stackTracesEnabled" false $log) (dig "stackTraces" false $log)))) -}}
{{- end -}}
{{- $figures := dig "prometheus" "operator" dict $v -}}
{{- if hasKey $figures "enabled" -}}{{- $args = append $args (printf "--enable-prometheus-metrics=%t" $figures.enabled) -}}{{- end -}}
{{- with $figures.port -}}{{- $args = append $args (printf "--metrics-bind-address=:%v" .) -}}{{- $_ := set $w.ports "metrics" . -}}{{- end -}}
{{- if hasKey (dig "opentelemetry" "operator" dict $v) "enabled" -}}{{- $args = append $args (printf "--enable-opentelemetry-metrics=%t" $v.opentelemetry.operator.enabled) -}}{{- end -}}
{{- with dig "opentelemetry" "collector" "uri" "" $v -}}{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .) -}}{{- end -}}
{{- if dig "profiling" "operator" "enabled" false $v -}}{{- $args = append $args (printf "--profiling-bind-address=:%v" (dig "profiling" "operator" "port" 8082 $v)) -}}{{- end -}}
{{- if not (dig "webhooks" "enabled" true $v) -}}
  {{- $args = concat $args (list "--webhook-bind-address=0" "--enable-webhook-patching=false") -}}
{{- else -}}
  {{- with dig "webhooks" "port" "" $v -}}{{- $args = append $args (printf "--webhook-bind-address=:%v" .) -}}{{- $_ := set $w.ports "webhook" . -}}{{- end -}}
  {{- with dig "webhooks" "name" "" $v -}}{{- $args = append $args (printf "--webhooks-service-name=%s" .) -}}{{- end -}}
  {{- with dig "sluice" "webhookClientCA" "" $v -}}
    {{- $args = append $args "--webhook-client-ca=/etc/sluice/webhook-client-ca/ca.crt" -}}
    {{- $_ := set $w "volumeMounts" (append $w.volumeMounts (dict "name" "webhook-client-ca" "mountPath" "/etc/sluice/webhook-client-ca" "readOnly" true)) -}}
    {{- $_ := set $w "volumes" (append $w.volumes (dict "name" "webhook-client-ca" "configMap" (dict "name" .))) -}}
  {{- end -}}
{{- end -}}
{{- with dig "webhooks" "healthProbePort" "" $v -}}{{- $args = append $args (printf "--health-probe-bind-address=:%v" .) -}}{{- $_ := set $w.ports "health" . -}}{{- end -}}
{{- if or (dig "certificates" "certManager" "enabled" false $v) (not (dig "certificates" "autoGenerated" true $v)) -}}{{- $args = append $args "--enable-cert-rotation=false" -}}{{- end -}}
{{- with dig "sluice" "admission" "" $v -}}{{- $args = append $args (printf "--admission=%s" .) -}}{{- end -}}
{{- $watch := list (dict "name" "WATCH_NAMESPACE" "value" (dig "watchNamespace" "" $v)) -}}
{{- with dig "watchLabelSelector" "" $v -}}{{- $watch = append $watch (dict "name" "WATCH_LABEL_SELECTOR" "value" .) -}}{{- end -}}
{{- $both := list -}}
{{- with dig "sluice" "noData" "" $v -}}{{- $both = append $both (printf "--no-data=%s" .) -}}{{- end -}}
{{- if dig "sluice" "plaintextScalers" false $v -}}{{- $both = append $both "--plaintext-scalers" -}}{{- end -}}
{{- $env = concat $env $watch -}}
{{- with dig "watchLabelSelectorForTriggerauth" "" $v -}}{{- $env = append $env (dict "name" "WATCH_LABEL_SELECTOR_FOR_TRIGGERAUTH" "value" .) -}}{{- end -}}
{{- $objects := list -}}
{{- with dig "sluice" "clusterObjectNamespace" "" $v | default (ternary .root.Release.Namespace "" (eq .profile "keda")) -}}{{- $objects = append $objects (dict "name" "KEDA_CLUSTER_OBJECT_NAMESPACE" "value" .) -}}{{- end -}}
{{- $flags := fromYaml (.root.Files.Get "files/flags.yaml") -}}
{{- $unknown := list -}}
{{- $extra := dict "keda" list "metricsAdapter" list -}}
{{- range $of := list "keda" "metricsAdapter" -}}
  {{- range $name, $value := dig "extraArgs" $of dict $v -}}
    {{- if has $name (index $flags $of) -}}{{- $_ := set $extra $of (append (index $extra $of) (printf "--%s=%v" $name $value)) -}}
    {{- else -}}{{- $unknown = append $unknown (printf "extraArgs.%s.%s" $of $name) -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $_ := set . "unknownArgs" $unknown -}}
{{- if eq .profile "keda" -}}{{- $args = append $args (printf "--metrics-server-service-name=%s" (dig "metricsServer" "name" "" $v | default "keda-operator-metrics-apiserver")) -}}{{- end -}}
{{- $_ := set $w "args" (concat $args $both $extra.keda) -}}
{{- $_ := set $w "env" (concat $env $objects (dig "env" list $v)) -}}
{{- $_ := set $all "controller" $w -}}

{{- /* The adapter. */ -}}
{{- $w = deepCopy (dig "metricsServer" dict $v) -}}
{{- if eq .profile "keda" -}}{{- $_ := set $w "app" ($w.name | default "keda-operator-metrics-apiserver") -}}{{- end -}}
{{- if not $w.affinity -}}{{- $_ := set $w "affinity" (dig "affinity" dict $v) -}}{{- end -}}
{{- $_ := set $w "podAnnotations" (dig "podAnnotations" "metricsAdapter" dict $v) -}}
{{- $_ := set $w "podLabels" (dig "podLabels" "metricsAdapter" dict $v) -}}
{{- $_ := set $w "resources" (dig "resources" "metricServer" dict $v) -}}
{{- $_ := set $w "podDisruptionBudget" (dig "podDisruptionBudget" "metricServer" dict $v) -}}
{{- $_ := set $w "strategy" (dig "upgradeStrategy" "metricsApiServer" dict $v) -}}
{{- $_ := set $w "topologySpreadConstraints" (dig "topologySpreadConstraints" "metricsServer" list $v) -}}
{{- $_ := set $w "volumes" (dig "volumes" "metricsApiServer" "extraVolumes" list $v) -}}
{{- $_ := set $w "volumeMounts" (dig "volumes" "metricsApiServer" "extraVolumeMounts" list $v) -}}
{{- $_ := set $w "account" (dig "serviceAccount" "metricServer" dict $v) -}}
{{- $_ := set $w "ports" dict -}}
{{- $_ := set $w "security" "metricServer" -}}
{{- $args = list -}}
{{- if hasKey (dig "logging" "metricServer" dict $v) "level" -}}
  {{- $level := toString $v.logging.metricServer.level -}}
  {{- $args = append $args (printf "--zap-log-level=%s" (ternary "info" $level (eq $level "0"))) -}}
{{- end -}}
{{- $figures = dig "prometheus" "metricServer" dict $v -}}
{{- with $figures.port -}}{{- $args = append $args (printf "--metrics-bind-address=:%v" .) -}}{{- $_ := set $w.ports "metrics" . -}}{{- end -}}
{{- if not (dig "enabled" true $figures) -}}{{- $args = append $args "--metrics-bind-address=0" -}}{{- end -}}
{{- with dig "service" "portHttpsTarget" "" $v -}}{{- $args = append $args (printf "--secure-port=%v" .) -}}{{- $_ := set $w.ports "https" . -}}{{- end -}}
{{- if dig "profiling" "metricsServer" "enabled" false $v -}}{{- $args = append $args (printf "--profiling-bind-address=:%v" (dig "profiling" "metricsServer" "port" 8083 $v)) -}}{{- end -}}
{{- $_ := set $w "args" (concat $args $both $extra.metricsAdapter) -}}
{{- $_ := set $w "env" (concat $watch (dig "env" list $v)) -}}
{{- $_ := set $all "metrics-adapter" $w -}}

{{- /* The families. */ -}}
{{- $identity := dict "labels" dict "annotations" (deepCopy (dig "serviceAccount" "operator" "annotations" dict $v)) -}}
{{- with dig "podIdentity" "aws" "irsa" dict $v -}}{{- if .enabled -}}
  {{- $_ := set $identity.annotations "eks.amazonaws.com/role-arn" (dig "roleArn" "" .) -}}
  {{- $_ := set $identity.annotations "eks.amazonaws.com/audience" (dig "audience" "sts.amazonaws.com" .) -}}
  {{- $_ := set $identity.annotations "eks.amazonaws.com/sts-regional-endpoints" (toString (dig "stsRegionalEndpoints" "true" .)) -}}
  {{- $_ := set $identity.annotations "eks.amazonaws.com/token-expiration" (toString (dig "tokenExpiration" 86400 .)) -}}
{{- end -}}{{- end -}}
{{- with dig "podIdentity" "azureWorkload" dict $v -}}{{- if .enabled -}}
  {{- $_ := set $identity.labels "azure.workload.identity/use" "true" -}}
  {{- with .clientId -}}{{- $_ := set $identity.annotations "azure.workload.identity/client-id" . -}}{{- end -}}
  {{- with .tenantId -}}{{- $_ := set $identity.annotations "azure.workload.identity/tenant-id" . -}}{{- end -}}
  {{- $_ := set $identity.annotations "azure.workload.identity/service-account-token-expiration" (toString (dig "tokenExpiration" 3600 .)) -}}
{{- end -}}{{- end -}}
{{- with dig "podIdentity" "gcp" dict $v -}}{{- if .enabled -}}
  {{- $_ := set $identity.annotations "iam.gke.io/gcp-service-account" (dig "gcpIAMServiceAccount" "" .) -}}
{{- end -}}{{- end -}}
{{- $http := list -}}
{{- with dig "http" dict $v -}}
  {{- with .timeout -}}{{- $http = append $http (dict "name" "KEDA_HTTP_DEFAULT_TIMEOUT" "value" (toString .)) -}}{{- end -}}
  {{- if not (dig "keepAlive" "enabled" true .) -}}{{- $http = append $http (dict "name" "KEDA_HTTP_DISABLE_KEEP_ALIVE" "value" "true") -}}{{- end -}}
  {{- with .minTlsVersion -}}{{- $http = append $http (dict "name" "KEDA_HTTP_MIN_TLS_VERSION" "value" .) -}}{{- end -}}
  {{- with .tlsCipherList -}}{{- $http = append $http (dict "name" "KEDA_HTTP_TLS_CIPHER_LIST" "value" .) -}}{{- end -}}
{{- end -}}
{{- $level := dig "sluice" "families" "logLevel" "" $v -}}
{{- if and (not $level) (hasKey (dig "logging" "operator" dict $v) "level") -}}
  {{- $level = toString $v.logging.operator.level -}}
  {{- if not (has $level (list "info" "error")) -}}{{- $level = "debug" -}}{{- end -}}
{{- end -}}
{{- $shared := .shared -}}
{{- range $name, $family := .families -}}
  {{- $own := dig "families" $name dict $v -}}
  {{- $w := dict
      "affinity" (dig "affinity" dict $v) "resources" (dig "sluice" "families" "resources" dict $v)
      "topologySpreadConstraints" (dig "topologySpreadConstraints" "operator" list $v) "ports" dict "security" "operator" -}}
  {{- if hasKey (dig "sluice" "families" dict $v) "replicaCount" -}}{{- $_ := set $w "replicaCount" $v.sluice.families.replicaCount -}}{{- end -}}
  {{- range $key, $value := omit $own "enabled" -}}{{- $_ := set $w $key $value -}}{{- end -}}
  {{- $labels := dict -}}{{- $annotations := dict -}}
  {{- if $family.credentials -}}{{- $labels = $identity.labels -}}{{- $annotations = $identity.annotations -}}{{- end -}}
  {{- if $shared -}}
    {{- /* "sluice.further" writes the one account of all. */ -}}
    {{- $_ := set $w "account" (dict "create" false) -}}
  {{- else -}}
    {{- $_ := set $w "account" (dict "labels" $labels "annotations" (merge (dict) (dig "serviceAccount" "annotations" dict $own) $annotations)) -}}
  {{- end -}}
  {{- $_ := set $w "podLabels" (merge (dict) (dig "podLabels" dict $own) $labels (dig "podLabels" "keda" dict $v)) -}}
  {{- $_ := set $w "podAnnotations" (merge (dict) (dig "podAnnotations" dict $own) (dig "podAnnotations" "keda" dict $v)) -}}
  {{- $args := list -}}{{- $env := $http -}}
  {{- $volumes := dig "volumes" "keda" "extraVolumes" list $v -}}
  {{- $mounts := dig "volumes" "keda" "extraVolumeMounts" list $v -}}
  {{- with $level -}}{{- $args = append $args (printf "--log-level=%s" .) -}}{{- end -}}
  {{- if $family.credentials -}}
    {{- $env = concat $env $objects -}}
    {{- if dig "permissions" "operator" "restrict" "secret" false $v -}}{{- $env = append $env (dict "name" "KEDA_RESTRICT_SECRET_ACCESS" "value" "true") -}}{{- end -}}
    {{- with dig "hashiCorpVaultTLS" "" $v -}}
      {{- $volumes = append $volumes (dict "name" "vault-tls" "secret" (dict "secretName" .)) -}}
      {{- $mounts = append $mounts (dict "name" "vault-tls" "mountPath" "/vault" "readOnly" true) -}}
    {{- end -}}
    {{- $dirs := dig "certificates" "operator" "caDirs" (list "/custom/ca") $v -}}
    {{- if ne (toJson $dirs) (toJson (list "/custom/ca")) -}}
      {{- range $dirs -}}{{- $args = append $args (printf "--ca-dir=%s" .) -}}{{- end -}}
    {{- end -}}
    {{- with dig "certificates" "operator" "caSecrets" list $v -}}
      {{- $sources := list -}}
      {{- range . -}}{{- $sources = append $sources (dict "secret" (dict "name" .)) -}}{{- end -}}
      {{- $volumes = append $volumes (dict "name" "ca-secrets" "projected" (dict "sources" $sources)) -}}
      {{- $mounts = append $mounts (dict "name" "ca-secrets" "mountPath" "/custom/ca" "readOnly" true) -}}
    {{- end -}}
    {{- if eq $name "external" -}}{{- with dig "grpcTLSCertsSecret" "" $v -}}
      {{- $args = append $args "--readable-files=/grpccerts" -}}
      {{- $volumes = append $volumes (dict "name" "grpc-certs" "secret" (dict "secretName" .)) -}}
      {{- $mounts = append $mounts (dict "name" "grpc-certs" "mountPath" "/grpccerts" "readOnly" true) -}}
    {{- end -}}{{- end -}}
  {{- end -}}
  {{- $_ := set $w "args" (concat $args (dig "sluice" "families" "args" list $v) (dig "args" list $own)) -}}
  {{- $_ := set $w "env" (concat $env (dig "env" list $v) (dig "env" list $own)) -}}
  {{- $_ := set $w "volumes" (concat $volumes (dig "volumes" list $own)) -}}
  {{- $_ := set $w "volumeMounts" (concat $mounts (dig "volumeMounts" list $own)) -}}
  {{- $_ := set $all (printf "scaler-%s" $name) $w -}}
{{- end -}}
{{- if $shared -}}{{- $_ := set . "account" (merge (dict "labels" $identity.labels "annotations" $identity.annotations) $account) -}}{{- end -}}
{{- $_ := set . "workloads" $all -}}
{{- end -}}
