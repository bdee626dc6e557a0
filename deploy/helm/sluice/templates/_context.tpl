{{/*
What the templates know, in one dict, .c of every other template here:

  v          the values, without what is null; a key that is missing has its
             default where it is read, since --reuse-values brings the values
             of another chart and none of this one's defaults
  root       the chart's own context
  cluster    whether there is a cluster to ask
  families   the families that are installed, and what is known of each
  chosen     why these
  workloads  what becomes of the Deployment of each component
*/}}
{{- define "sluice.context" -}}
{{- $v := fromYaml (toYaml .Values) -}}
{{- include "sluice.prune" $v -}}
{{- $c := .c -}}
{{- $_ := set $c "v" $v -}}
{{- $_ := set $c "root" .root -}}
{{- $_ := set $c "cluster" (not (empty (lookup "v1" "Namespace" "" "kube-system"))) -}}
{{- include "sluice.choose" $c -}}
{{- include "sluice.workloads" $c -}}
{{- end -}}

{{/* Takes out what is null, which is what is not given. */}}
{{- define "sluice.prune" -}}
{{- range $key, $value := . -}}
  {{- if kindIs "invalid" $value -}}{{- $_ := unset $ $key -}}
  {{- else if kindIs "map" $value -}}{{- include "sluice.prune" $value -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* Chooses the families. */}}
{{- define "sluice.choose" -}}
{{- $c := . -}}
{{- $known := fromYaml (.root.Files.Get "files/families.yaml") -}}
{{- $given := dig "families" dict .v -}}
{{- $select := dig "select" "inUse" $given -}}
{{- $used := dict -}}
{{- $chosen := $select -}}
{{- if eq $select "inUse" -}}
  {{- $objects := 0 -}}
  {{- if .cluster -}}
    {{- range $kind := list "ScaledObject" "ScaledJob" -}}
      {{- if $c.root.Capabilities.APIVersions.Has (printf "keda.sh/v1alpha1/%s" $kind) -}}
        {{- range $object := (lookup "keda.sh/v1alpha1" $kind "" "").items -}}
          {{- $objects = add1 $objects -}}
          {{- range $trigger := dig "spec" "triggers" list $object -}}
            {{- $_ := set $used (toString (dig "type" "" $trigger)) true -}}
          {{- end -}}
        {{- end -}}
      {{- end -}}
    {{- end -}}
    {{- $chosen = ternary "inUse" "noObjects" (gt (int $objects) 0) -}}
  {{- else -}}
    {{- $chosen = "noCluster" -}}
  {{- end -}}
{{- end -}}
{{- $families := dict -}}
{{- $types := dict -}}
{{- range $name, $family := $known -}}
  {{- $needed := not (has $select (list "inUse" "none")) -}}
  {{- if has $chosen (list "noObjects" "noCluster") -}}{{- $needed = true -}}{{- end -}}
  {{- range $type := $family.types -}}
    {{- if hasKey $used $type -}}{{- $needed = true -}}{{- end -}}
    {{- $_ := set $types $type $name -}}
  {{- end -}}
  {{- if dig $name "enabled" $needed $given -}}{{- $_ := set $families $name $family -}}{{- end -}}
{{- end -}}
{{- $_ := set . "families" $families -}}
{{- $_ := set . "known" $known -}}
{{- $_ := set . "chosen" $chosen -}}
{{- /* What objects need and nobody here serves, by type. */ -}}
{{- $missing := list -}}
{{- range $type := keys $used | sortAlpha -}}
  {{- if and (not (has $type (list "" "cpu" "memory"))) (not (hasKey $families (dig $type "-" $types))) -}}{{- $missing = append $missing $type -}}{{- end -}}
{{- end -}}
{{- $_ := set . "missing" $missing -}}
{{- end -}}
