{{/*
What the templates know, in one dict, .c of every other template here:

  v          the values, without what is null; a key that is missing has its
             default where it is read, since --reuse-values brings the values
             of another chart and none of this one's defaults
  root       the chart's own context
  cluster    whether there is a cluster to ask
  profile    "keda" where the release has the names of KEDA's, else "sluice"
  shared     the account that families share, "" where each has its own
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
{{- include "sluice.profile" $c -}}
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

{{/*
A release that has KEDA's Deployment, which selects its Pods as KEDA does, goes on
under KEDA's names: what selects Pods can not be changed, and a cloud trusts KEDA's
account.
*/}}
{{- define "sluice.profile" -}}
{{- $profile := dig "sluice" "profile" "auto" .v -}}
{{- if eq $profile "auto" -}}
  {{- $profile = "sluice" -}}
  {{- if .cluster -}}
    {{- $name := dig "operator" "name" "" .v | default "keda-operator" -}}
    {{- $there := lookup "apps/v1" "Deployment" .root.Release.Namespace $name -}}
    {{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there -}}
    {{- if and (eq $owner .root.Release.Name) (hasKey (dig "spec" "selector" "matchLabels" dict $there) "app") -}}{{- $profile = "keda" -}}{{- end -}}
  {{- end -}}
{{- end -}}
{{- $_ := set . "profile" $profile -}}
{{- $identity := dig "sluice" "identity" "" .v | default (ternary "shared" "perFamily" (eq $profile "keda")) -}}
{{- $account := dig "serviceAccount" "operator" "name" "" .v | default "keda-operator" -}}
{{- $_ := set . "shared" (ternary $account "" (eq $identity "shared")) -}}
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
