{{- define "xmpp-operator.name" -}}
{{- if contains "xmpp-operator" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-xmpp-operator" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "xmpp-operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "xmpp-operator.name" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "xmpp-operator.selector" -}}
app.kubernetes.io/name: xmpp-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "xmpp-operator.labels" -}}
{{ include "xmpp-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: xmpp-cluster
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "xmpp-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "xmpp-operator.nodeImage" -}}
{{- .Values.nodeImage | default (printf "xmpp-node:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "xmpp-operator.namespaces" -}}
{{- .Values.watchNamespaces | default (list .Release.Namespace) | toJson -}}
{{- end -}}
