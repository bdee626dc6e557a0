{{/* Objects that the values ask for beside those of the manifests. */}}
{{- define "sluice.further" -}}
{{- $c := . -}}{{- $v := .v -}}{{- $namespace := .root.Release.Namespace -}}
{{- if and .shared .families (dig "create" true .account) -}}
  {{- $account := dict "apiVersion" "v1" "kind" "ServiceAccount"
      "metadata" (dict "name" .shared "namespace" $namespace "labels" (merge (dict "app.kubernetes.io/part-of" "sluice") .account.labels)) -}}
  {{- with .account.annotations -}}{{- $_ := set $account.metadata "annotations" . -}}{{- end -}}
  {{- if hasKey .account "automountServiceAccountToken" -}}{{- $_ := set $account "automountServiceAccountToken" .account.automountServiceAccountToken -}}{{- end -}}
  {{- include "sluice.print" (dict "c" $c "o" $account) -}}
{{- end -}}
{{- include "sluice.grants" $c -}}
{{- include "sluice.targets" $c -}}
{{- include "sluice.monitors" $c -}}
{{- if and (dig "networkPolicy" "enabled" false $v) (eq (dig "networkPolicy" "flavor" "cilium" $v) "cilium") -}}
  {{- with dig "networkPolicy" "cilium" "operator" "extraEgressRules" list $v -}}
    {{- include "sluice.print" (dict "c" $c "o" (dict "apiVersion" "cilium.io/v2" "kind" "CiliumNetworkPolicy"
        "metadata" (dict "name" "scalers" "namespace" $namespace "labels" (dict "app.kubernetes.io/part-of" "sluice"))
        "spec" (dict "endpointSelector" (dict "matchExpressions" (list (dict "key" "sluice.dev/family" "operator" "Exists"))) "egress" .))) -}}
  {{- end -}}
{{- end -}}
{{- range dig "extraObjects" list $v -}}
  {{- $text := . -}}{{- if not (kindIs "string" .) -}}{{- $text = toYaml . -}}{{- end -}}
  {{- printf "---\n%s\n" (tpl $text $c.root) -}}
{{- end -}}
{{- end -}}

{{/* Which families may read what triggers refer to. */}}
{{- define "sluice.grants" -}}
{{- $c := . -}}{{- $v := .v -}}{{- $namespace := .root.Release.Namespace -}}
{{- if dig "rbac" "create" true $v -}}
{{- $subjects := list -}}
{{- $restrict := dig "permissions" "operator" "restrict" dict $v -}}
{{- range $name, $family := .families -}}
  {{- $account := dict "kind" "ServiceAccount" "name" (include "sluice.name" (dict "c" $c "kind" "ServiceAccount" "name" (printf "scaler-%s" $name))) "namespace" $namespace -}}
  {{- if $family.credentials -}}{{- $subjects = uniq (append $subjects $account) -}}{{- end -}}
  {{- range $where := dig "sluice" "grants" "namespaces" list $v -}}
    {{- $roles := dict -}}
    {{- if $family.credentials -}}{{- $_ := set $roles (printf "scaler-%s" $name) "sluice-scaler-credentials" -}}{{- end -}}
    {{- if $family.byNamespace -}}{{- $_ := set $roles (printf "sluice-scaler-%s" $name) (printf "sluice-scaler-%s" $name) -}}{{- end -}}
    {{- range $binding, $role := $roles -}}
      {{- include "sluice.bind" (dict "c" $c "kind" "RoleBinding" "name" $binding "namespace" $where "role" $role "subjects" (list $account)) -}}
    {{- end -}}
  {{- end -}}
  {{- if and $family.byNamespace (include "sluice.everySecret" $c) -}}
    {{- include "sluice.bind" (dict "c" $c "kind" "ClusterRoleBinding" "name" (printf "sluice-scaler-%s" $name) "role" (printf "sluice-scaler-%s" $name) "subjects" (list $account)) -}}
  {{- end -}}
{{- end -}}
{{- if and $subjects (include "sluice.everySecret" $c) -}}
  {{- include "sluice.bind" (dict "c" $c "kind" "ClusterRoleBinding" "name" "sluice-scalers-read-every-secret" "role" "sluice-scaler-credentials" "subjects" $subjects) -}}
{{- end -}}
{{- range $minted := dig "serviceAccountTokenCreationRoles" list $restrict -}}
  {{- if $subjects -}}
    {{- $name := printf "sluice-scalers-token-%s" $minted.name -}}
    {{- include "sluice.print" (dict "c" $c "o" (dict "apiVersion" "rbac.authorization.k8s.io/v1" "kind" "Role"
        "metadata" (dict "name" $name "namespace" $minted.namespace "labels" (dict "app.kubernetes.io/part-of" "sluice"))
        "rules" (list (dict "apiGroups" (list "") "resources" (list "serviceaccounts/token") "resourceNames" (list $minted.name) "verbs" (list "create"))))) -}}
    {{- include "sluice.bind" (dict "c" $c "kind" "RoleBinding" "name" $name "namespace" $minted.namespace "role" $name "of" "Role" "subjects" $subjects) -}}
  {{- end -}}
{{- end -}}
{{- /* As components/restore-registration: a create cannot be limited to a name. */ -}}
{{- if eq (toString (dig "extraArgs" "keda" "restore-registration" false $v)) "true" -}}
  {{- $rules := list -}}
  {{- range $group, $resource := dict "apiregistration.k8s.io" "apiservices" "admissionregistration.k8s.io" "validatingwebhookconfigurations" -}}
    {{- $rules = append $rules (dict "apiGroups" (list $group) "resources" (list $resource) "verbs" (list "create")) -}}
  {{- end -}}
  {{- include "sluice.print" (dict "c" $c "o" (dict "apiVersion" "rbac.authorization.k8s.io/v1" "kind" "ClusterRole"
      "metadata" (dict "name" "sluice-controller-registration" "labels" (dict "app.kubernetes.io/name" "controller" "app.kubernetes.io/part-of" "sluice"))
      "rules" $rules)) -}}
  {{- $controller := dict "kind" "ServiceAccount" "name" (include "sluice.name" (dict "c" $c "kind" "ServiceAccount" "name" "controller")) "namespace" $namespace -}}
  {{- include "sluice.bind" (dict "c" $c "kind" "ClusterRoleBinding" "name" "sluice-controller-registration" "role" "sluice-controller-registration" "subjects" (list $controller)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Says something when all Secrets are granted. */}}
{{- define "sluice.everySecret" -}}
{{- $restrict := dig "permissions" "operator" "restrict" dict .v -}}
{{- /* As KEDA has it where the release is KEDA's, but for what is said otherwise. */ -}}
{{- $default := and (eq .profile "keda") (not (dig "secret" false $restrict)) -}}
{{- if or (dig "sluice" "grants" "everySecret" $default .v) (not (dig "secret" true $restrict)) -}}yes{{- end -}}
{{- end -}}

{{- define "sluice.bind" -}}
{{- $metadata := dict "name" .name "labels" (dict "app.kubernetes.io/part-of" "sluice") -}}
{{- with .namespace -}}{{- $_ := set $metadata "namespace" . -}}{{- end -}}
{{- $kind := .of | default "ClusterRole" -}}
{{- $role := include "sluice.name" (dict "c" .c "kind" $kind "name" .role) -}}
{{- include "sluice.print" (dict "c" .c "o" (dict "apiVersion" "rbac.authorization.k8s.io/v1" "kind" .kind "metadata" $metadata
    "roleRef" (dict "apiGroup" "rbac.authorization.k8s.io" "kind" $kind "name" $role) "subjects" .subjects)) -}}
{{- end -}}

{{/* Further kinds that may be scaled. To read all of every group would be to read every Secret. */}}
{{- define "sluice.targets" -}}
{{- $c := . -}}{{- $v := .v -}}
{{- $refused := false -}}{{- $rules := list -}}{{- $adapter := list -}}
{{- if and (dig "rbac" "create" true $v) (dig "rbac" "enabledCustomScaledRefKinds" true $v) -}}
  {{- range dig "rbac" "scaledRefKinds" list $v -}}
    {{- if has (toString .apiGroup) (list "*" "") -}}
      {{- $refused = true -}}
    {{- else -}}
      {{- $resource := lower (toString .kind) -}}
      {{- if and (ne $resource "*") (not (hasSuffix "s" $resource)) -}}{{- $resource = printf "%ss" $resource -}}{{- end -}}
      {{- $scale := ternary "*/scale" (printf "%s/scale" $resource) (eq $resource "*") -}}
      {{- $rules = concat $rules (list
          (dict "apiGroups" (list .apiGroup) "resources" (list $resource) "verbs" (list "get" "list" "watch"))
          (dict "apiGroups" (list .apiGroup) "resources" (list $scale) "verbs" (list "get" "update"))) -}}
      {{- $adapter = append $adapter (dict "apiGroups" (list .apiGroup) "resources" (list $resource $scale) "verbs" (list "get")) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- $_ := set $c "refusedKinds" $refused -}}
{{- if $rules -}}
  {{- range $of, $given := dict "controller" $rules "metrics-adapter" $adapter -}}
    {{- include "sluice.print" (dict "c" $c "o" (dict "apiVersion" "rbac.authorization.k8s.io/v1" "kind" "ClusterRole"
        "metadata" (dict "name" (printf "sluice-%s-targets-further" $of) "labels" (dict "app.kubernetes.io/part-of" "sluice" (printf "sluice.dev/aggregate-to-%s" $of) "true")) "rules" $given)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* What Prometheus's operator reads. */}}
{{- define "sluice.monitors" -}}
{{- $c := . -}}{{- $v := .v -}}{{- $namespace := .root.Release.Namespace -}}
{{- $operator := dig "prometheus" "operator" dict $v -}}
{{- $adapter := dig "prometheus" "metricServer" dict $v -}}
{{- $webhooks := dig "prometheus" "webhooks" dict $v -}}
{{- $service := dig "serviceMonitor" dict $operator -}}
{{- if not (dig "enabled" false $service) -}}{{- $service = dig "serviceMonitor" dict $webhooks -}}{{- end -}}
{{- if or (dig "enabled" false $operator) (dig "enabled" false $service) -}}
  {{- include "sluice.print" (dict "c" $c "o" (dict "apiVersion" "v1" "kind" "Service"
      "metadata" (dict "name" "controller-metrics" "namespace" $namespace "labels" (dict "app.kubernetes.io/name" "controller" "app.kubernetes.io/part-of" "sluice"))
      "spec" (dict "selector" (dict "app.kubernetes.io/name" "controller") "ports" (list (dict "name" "metrics" "port" (dig "port" 8080 $operator) "targetPort" "metrics"))))) -}}
{{- end -}}
{{- include "sluice.monitor" (dict "c" $c "kind" "ServiceMonitor" "name" "controller" "m" $service) -}}
{{- include "sluice.monitor" (dict "c" $c "kind" "PodMonitor" "name" "controller" "m" (dig "podMonitor" dict $operator)) -}}
{{- include "sluice.monitor" (dict "c" $c "kind" "ServiceMonitor" "name" "metrics-adapter" "m" (dig "serviceMonitor" dict $adapter)) -}}
{{- include "sluice.monitor" (dict "c" $c "kind" "PodMonitor" "name" "metrics-adapter" "m" (dig "podMonitor" dict $adapter)) -}}
{{- $pods := dig "podMonitor" dict $operator -}}
{{- if not (dig "enabled" false $pods) -}}{{- $pods = dict "enabled" (dig "enabled" false $service) "interval" (dig "interval" "" $service) "additionalLabels" (dig "additionalLabels" dict $service) "namespace" (dig "namespace" "" $service) -}}{{- end -}}
{{- include "sluice.monitor" (dict "c" $c "kind" "PodMonitor" "name" "scalers" "m" $pods) -}}
{{- range $name, $rules := dict "controller" (dig "prometheusRules" dict $operator) "admission" (dig "prometheusRules" dict $webhooks) -}}
  {{- if dig "enabled" false $rules -}}
    {{- include "sluice.print" (dict "c" $c "o" (dict "apiVersion" "monitoring.coreos.com/v1" "kind" "PrometheusRule"
        "metadata" (dict "name" (printf "sluice-%s" $name) "namespace" (dig "namespace" "" $rules | default $namespace) "labels" (merge (dict "app.kubernetes.io/part-of" "sluice") (dig "additionalLabels" dict $rules)))
        "spec" (dict "groups" (list (dict "name" (printf "sluice-%s" $name) "rules" (dig "alerts" list $rules)))))) -}}
  {{- end -}}
{{- end -}}
{{- $alerts := dig "prometheus" "alerts" dict $v -}}
{{- if dig "enabled" (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") $alerts -}}
  {{- $rule := fromYaml (.root.Files.Get "files/alerts.yaml") -}}
  {{- $_ := set $rule.metadata "namespace" (dig "namespace" "" $alerts | default $namespace) -}}
  {{- $_ := set $rule.metadata "labels" (merge $rule.metadata.labels (dig "additionalLabels" dict $alerts)) -}}
  {{- include "sluice.print" (dict "c" $c "o" $rule) -}}
{{- end -}}
{{- $dashboards := dig "sluice" "dashboards" dict $v -}}
{{- if dig "enabled" false $dashboards -}}
  {{- range $path, $_ := .root.Files.Glob "files/dashboards/*.yaml" -}}
    {{- $dashboard := fromYaml ($c.root.Files.Get $path) -}}
    {{- $_ := set $dashboard.metadata "namespace" (dig "namespace" "" $dashboards | default $namespace) -}}
    {{- $_ := set $dashboard.metadata "labels" (merge $dashboard.metadata.labels (dig "additionalLabels" dict $dashboards)) -}}
    {{- with dig "annotations" dict $dashboards -}}{{- $_ := set $dashboard.metadata "annotations" . -}}{{- end -}}
    {{- include "sluice.print" (dict "c" $c "o" $dashboard) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.monitor" -}}
{{- $m := .m -}}{{- $namespace := .c.root.Release.Namespace -}}
{{- if dig "enabled" false $m -}}
  {{- $endpoint := dict "port" "metrics" -}}
  {{- range $key := list "interval" "scrapeTimeout" "relabelings" "metricRelabelings" "scheme" "tlsConfig" -}}
    {{- with index $m $key -}}{{- $_ := set $endpoint $key . -}}{{- end -}}
  {{- end -}}
  {{- with $m.relabellings -}}{{- if not $m.relabelings -}}{{- $_ := set $endpoint "relabelings" . -}}{{- end -}}{{- end -}}
  {{- if eq .kind "ServiceMonitor" -}}
    {{- with $m.port -}}{{- $_ := set $endpoint "port" . -}}{{- end -}}
    {{- with $m.targetPort -}}{{- $_ := set $endpoint "targetPort" . -}}{{- $_ := unset $endpoint "port" -}}{{- end -}}
  {{- end -}}
  {{- $selector := dict "matchLabels" (dict "app.kubernetes.io/name" .name) -}}
  {{- if eq .name "scalers" -}}{{- $selector = dict "matchExpressions" (list (dict "key" "sluice.dev/family" "operator" "Exists")) -}}{{- end -}}
  {{- $spec := dict "selector" $selector "namespaceSelector" (dict "matchNames" (list $namespace)) (ternary "endpoints" "podMetricsEndpoints" (eq .kind "ServiceMonitor")) (list $endpoint) -}}
  {{- range $key := list "jobLabel" "targetLabels" "podTargetLabels" -}}
    {{- with index $m $key -}}{{- $_ := set $spec $key . -}}{{- end -}}
  {{- end -}}
  {{- include "sluice.print" (dict "c" .c "o" (dict "apiVersion" "monitoring.coreos.com/v1" "kind" .kind
      "metadata" (dict "name" (printf "sluice-%s" .name) "namespace" (dig "namespace" "" $m | default $namespace) "labels" (merge (dict "app.kubernetes.io/part-of" "sluice") (dig "additionalLabels" dict $m)))
      "spec" $spec)) -}}
{{- end -}}
{{- end -}}
