{{/*
The one place where objects get their names. "sluice.names" sets .c.names to a
dict of new names by "<kind>/<name in the manifests>", and "sluice.rename" gives
one object its name and changes all that refers to another. The namespace of
the manifests, sluice-system, becomes the release's: "sluice.read" sees to it,
in every object.
*/}}
{{- define "sluice.names" -}}
{{- $v := .v -}}
{{- $names := dict -}}
{{- $given := dict
    "Deployment/controller" (dig "operator" "name" "" $v)
    "Deployment/metrics-adapter" (dig "metricsServer" "name" "" $v)
    "Service/keda-admission-webhooks" (dig "webhooks" "name" "" $v)
    "ServiceAccount/controller" (dig "serviceAccount" "operator" "name" "" $v)
    "ServiceAccount/metrics-adapter" (dig "serviceAccount" "metricServer" "name" "" $v) -}}
{{- if eq .profile "keda" -}}
  {{- range $key, $name := dict
      "Deployment/controller" "keda-operator"
      "Deployment/metrics-adapter" "keda-operator-metrics-apiserver"
      "ServiceAccount/metrics-adapter" "keda-metrics-server" -}}
    {{- if not (index $given $key) -}}{{- $_ := set $given $key $name -}}{{- end -}}
  {{- end -}}
  {{- $_ := set $given "Service/metrics-adapter" (index $given "Deployment/metrics-adapter") -}}
{{- end -}}
{{- if .shared -}}
  {{- /* What KEDA's account may do is for the families; the controller needs none of it. */ -}}
  {{- $_ := set $given "ServiceAccount/controller" "sluice-controller" -}}
  {{- range $family, $_ := .families -}}{{- $_ := set $given (printf "ServiceAccount/scaler-%s" $family) $.shared -}}{{- end -}}
{{- end -}}
{{- range $key, $name := $given -}}
  {{- if $name -}}{{- $_ := set $names $key $name -}}{{- end -}}
{{- end -}}
{{- $_ := set . "names" $names -}}
{{- end -}}

{{/* The new name of an object: .c, .kind and .name. */}}
{{- define "sluice.name" -}}
{{- dig (printf "%s/%s" .kind .name) .name .c.names -}}
{{- end -}}

{{/* Renames the object .o and what it refers to. */}}
{{- define "sluice.rename" -}}
{{- $c := .c -}}{{- $o := .o -}}
{{- $_ := set $o.metadata "name" (include "sluice.name" (dict "c" $c "kind" $o.kind "name" $o.metadata.name)) -}}
{{- with dig "roleRef" dict $o -}}
  {{- if .name -}}{{- $_ := set . "name" (include "sluice.name" (dict "c" $c "kind" .kind "name" .name)) -}}{{- end -}}
{{- end -}}
{{- range dig "subjects" list $o -}}
  {{- if eq (toString .namespace) $c.root.Release.Namespace -}}
    {{- $_ := set . "name" (include "sluice.name" (dict "c" $c "kind" .kind "name" .name)) -}}
  {{- end -}}
{{- end -}}
{{- range dig "rules" list $o -}}
  {{- $rule := . -}}
  {{- if hasKey $rule "resourceNames" -}}
    {{- $kind := dig (first $rule.resources) "" (dict "secrets" "Secret" "apiservices" "APIService" "validatingwebhookconfigurations" "ValidatingWebhookConfiguration") -}}
    {{- $renamed := list -}}
    {{- range $rule.resourceNames -}}{{- $renamed = append $renamed (include "sluice.name" (dict "c" $c "kind" $kind "name" .)) -}}{{- end -}}
    {{- $_ := set $rule "resourceNames" $renamed -}}
  {{- end -}}
{{- end -}}
{{- range dig "webhooks" list $o -}}
  {{- $service := .clientConfig.service -}}
  {{- $_ := set $service "name" (include "sluice.name" (dict "c" $c "kind" "Service" "name" $service.name)) -}}
{{- end -}}
{{- if eq $o.kind "APIService" -}}
  {{- $service := $o.spec.service -}}
  {{- $_ := set $service "name" (include "sluice.name" (dict "c" $c "kind" "Service" "name" $service.name)) -}}
{{- else if eq $o.kind "Deployment" -}}
  {{- $pod := $o.spec.template.spec -}}
  {{- $_ := set $pod "serviceAccountName" (include "sluice.name" (dict "c" $c "kind" "ServiceAccount" "name" $pod.serviceAccountName)) -}}
{{- else if eq $o.kind "Certificate" -}}
  {{- $_ := set $o.spec "secretName" (include "sluice.name" (dict "c" $c "kind" "Secret" "name" $o.spec.secretName)) -}}
{{- end -}}
{{- end -}}
