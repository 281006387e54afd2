{{/* The operator's configuration file. The operator refuses fields that it does not know. */}}

{{- define "batchfleet.config" -}}
{{- $set := dict -}}
{{- range $field, $value := .Values.serviceDefaults -}}
{{- with $value }}{{ $_ := set $set $field . }}{{ end -}}
{{- end -}}
images:
  vllm: {{ include "batchfleet.image" (dict "image" .Values.vllmImage "chart" .Chart) | quote }}
  worker: {{ include "batchfleet.image" (dict "image" .Values.workerImage "chart" .Chart) | quote }}
serviceDefaults:
  {{- toYaml $set | nindent 2 }}
monitoring:
  labels:
    {{- toYaml .Values.monitoring.labels | nindent 4 }}
  {{- with .Values.monitoring.scrapeIntervalSeconds }}
  scrapeIntervalSeconds: {{ . }}
  {{- end }}
  {{- with .Values.monitoring.prometheus }}
  {{- if or .url .allowSources }}
  prometheus:
    {{- with .url }}
    url: {{ . | quote }}
    {{- end }}
    {{- if .credentialsSecret }}
    credentialsDirectory: /etc/batchfleet-prometheus
    {{- end }}
    tickSeconds: {{ .tickSeconds }}
    timeoutSeconds: {{ .timeoutSeconds }}
    maxAgeSeconds: {{ .maxAgeSeconds }}
    seriesLabels:
      {{- toYaml .seriesLabels | nindent 6 }}
    allowQueries: {{ .allowQueries }}
    allowSources: {{ .allowSources }}
  {{- end }}
  {{- end }}
networkPolicy:
  enabled: {{ .Values.networkPolicy.enabled }}
  adminFrom:
    # The operator reads the workers' state.
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
      podSelector:
        matchLabels:
          {{- include "batchfleet.selectorLabels" . | nindent 10 }}
    {{- with .Values.networkPolicy.adminFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
