{{/*
What is refused before anything is installed. Helm itself refuses each object that
is not the release's, whichever it comes to first; these say what it is about.
*/}}
{{- define "sluice.refuse" -}}
{{- if and .cluster .root.Release.IsInstall -}}
  {{- include "sluice.refuse.keda" . -}}
  {{- include "sluice.refuse.another" . -}}
  {{- include "sluice.refuse.metrics" . -}}
{{- end -}}
{{- end -}}

{{/* Whether the object .o is of this release. */}}
{{- define "sluice.released" -}}
{{- $a := dig "metadata" "annotations" dict .o -}}
{{- if and (eq (dig "meta.helm.sh/release-name" "" $a) .c.root.Release.Name) (eq (dig "meta.helm.sh/release-namespace" "" $a) .c.root.Release.Namespace) -}}yes{{- end -}}
{{- end -}}

{{/* A KEDA, where its CRDs say that it is, or where it is by default. */}}
{{- define "sluice.refuse.keda" -}}
{{- $c := . -}}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "scaledobjects.keda.sh" -}}
{{- $marks := dig "metadata" "annotations" dict $crd -}}
{{- range $namespace := list (dig "meta.helm.sh/release-namespace" "" $marks) "keda" $c.root.Release.Namespace | compact | uniq -}}
  {{- $keda := lookup "apps/v1" "Deployment" $namespace "keda-operator" -}}
  {{- if and $keda (ne (dig "metadata" "labels" "app.kubernetes.io/part-of" "" $keda) "sluice") (not (include "sluice.released" (dict "o" $keda "c" $c))) -}}
    {{- $release := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $keda -}}
    {{- $way := "docs/migrate.md says how it becomes Sluice" -}}
    {{- if $release -}}{{- $way = printf "helm upgrade %s <this chart> --reuse-values -n %s turns it into Sluice" $release $namespace -}}{{- end -}}
    {{- fail (printf "\n\nKEDA runs in namespace %s, and a cluster has one of both: %s, and deploy/components/shadow has Sluice look on beside it. Nothing was installed." $namespace $way) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Another Sluice, which has the same roles. */}}
{{- define "sluice.refuse.another" -}}
{{- $binding := lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "sluice-controller" -}}
{{- range $subject := dig "subjects" list $binding -}}
  {{- $at := dig "namespace" "" $subject -}}
  {{- if and $at (ne $at $.root.Release.Namespace) -}}
    {{- $way := "kubectl sluice uninstall" -}}
    {{- with dig "metadata" "annotations" "meta.helm.sh/release-name" "" $binding -}}{{- $way = printf "helm uninstall %s -n %s" . $at -}}{{- end -}}
    {{- fail (printf "\n\nSluice is in namespace %s already, and a cluster has one: %s removes that one, and leaves every object and every replica. Nothing was installed." $at $way) -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Another adapter, which answers for external metrics. */}}
{{- define "sluice.refuse.metrics" -}}
{{- $api := lookup "apiregistration.k8s.io/v1" "APIService" "" "v1beta1.external.metrics.k8s.io" -}}
{{- if and $api (not (include "sluice.released" (dict "o" $api "c" .))) (ne (dig "spec" "service" "namespace" "" $api) .root.Release.Namespace) -}}
  {{- $service := printf "%s/%s" (dig "spec" "service" "namespace" "-" $api) (dig "spec" "service" "name" "-" $api) -}}
  {{- fail (printf "\n\nAPIService v1beta1.external.metrics.k8s.io leads to Service %s, and a cluster has one adapter of external metrics: take them out of that one (prometheus-adapter: rules.external) or delete the APIService where nobody is behind it. Nothing was installed." $service) -}}
{{- end -}}
{{- end -}}

{{/*
Whether the installer may give the rights that the manifests give. Helm makes hooks
first and takes these away again, so that who may not is told by the API server
which right is missing before anything else is there. The binding has no subjects.
*/}}
{{- define "sluice.trial" -}}
{{- if and .cluster .granted -}}
  {{- $metadata := dict "name" "sluice-installer-trial" "labels" (dict "app.kubernetes.io/part-of" "sluice") "annotations" (dict
      "helm.sh/hook" "pre-install,pre-upgrade" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded,hook-failed") -}}
  {{- $api := "rbac.authorization.k8s.io" -}}
  {{- range $o := list
      (dict "kind" "ClusterRole" "rules" .granted)
      (dict "kind" "ClusterRoleBinding" "roleRef" (dict "apiGroup" $api "kind" "ClusterRole" "name" $metadata.name)) -}}
    {{- include "sluice.print" (dict "c" $ "o" (merge (dict "apiVersion" (printf "%s/v1" $api) "metadata" (deepCopy $metadata)) $o)) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
