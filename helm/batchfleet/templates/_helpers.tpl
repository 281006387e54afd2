{{/* What several templates say in the same words: names, labels, images, rules. */}}

{{- define "batchfleet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Never changes for a release: a Deployment's selector is immutable. */}}
{{- define "batchfleet.selectorLabels" -}}
app.kubernetes.io/name: batchfleet-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "batchfleet.labels" -}}
{{ include "batchfleet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: batchfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "batchfleet.serviceAccountName" -}}
{{- default (include "batchfleet.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Takes {image, chart}: repository and digest, or tag. */}}
{{- define "batchfleet.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do where services live: in a ClusterRole, or a Role per namespace. */}}
{{- define "batchfleet.fleetRules" -}}
- apiGroups: [batchfleet.io]
  resources: [batchinferenceservices]
  verbs: [get, list, watch]
- apiGroups: [batchfleet.io]
  resources: [batchinferenceservices/status]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Never watched: the cluster may lack the kind.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, create, patch, delete]
# An annotation of a pod makes its kubelet refresh the live settings at once; an alert action may
# restart a pod.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
# An annotation of a namespace pauses the automation in it.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- if .Values.monitoring.prometheus.allowSources }}
# Credentials of the Prometheus that a service names.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end -}}
