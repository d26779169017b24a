{{- define "drqueue.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "drqueue.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "drqueue.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else if eq .Release.Name "drqueue" -}}
{{- include "drqueue.name" . -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "drqueue.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names carry the namespace: two releases in two namespaces do not collide. */}}
{{- define "drqueue.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "drqueue.fullname" .) -}}
{{- end -}}

{{/* As above where ":" is not allowed. */}}
{{- define "drqueue.clusterSlug" -}}
{{- printf "%s-%s" .Release.Namespace (include "drqueue.fullname" .) -}}
{{- end -}}

{{- define "drqueue.serviceAccount" -}}
{{- default (include "drqueue.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "drqueue.selectorLabels" -}}
app.kubernetes.io/name: {{ include "drqueue.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "drqueue.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "drqueue.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: drqueue
{{- end -}}

{{/* Arguments: a dict of root and image (operator or slave). */}}
{{- define "drqueue.image" -}}
{{- $image := index .root.Values.images .image -}}
{{- $name := $image.repository -}}
{{- with .root.Values.images.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "drqueue.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "drqueue.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "drqueue.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where pods of the chart may run. */}}
{{- define "drqueue.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Where the books are, also while billing is off: what is in them stays protected. */}}
{{- define "drqueue.billingNamespace" -}}
{{- $name := default (printf "%s-billing" (.Release.Namespace | trunc 55 | trimSuffix "-")) .Values.billing.namespace -}}
{{- if has $name .Values.watchNamespaces -}}
{{- fail (printf "billing.namespace %q is a tenant's (watchNamespaces): choose a namespace in which no tenant has rights" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* User names as policies see them. */}}
{{- define "drqueue.operatorUser" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "drqueue.serviceAccount" .) -}}
{{- end -}}
{{- define "drqueue.uninstallUser" -}}
{{- printf "system:serviceaccount:%s:%s-uninstall" .Release.Namespace (include "drqueue.fullname" .) -}}
{{- end -}}

{{/* Metadata of what guards the books: with billing it stays when the chart goes, for sessions and
books stay too. Arguments: a dict of root and part. */}}
{{- define "drqueue.guardMetadata" -}}
name: {{ include "drqueue.clusterSlug" .root }}-{{ .part }}
labels: {{- include "drqueue.labels" .root | nindent 2 }}
{{- if .root.Values.billing.enabled }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
{{- end -}}

{{/* The binding of such a policy; what others run elsewhere is not this release's. */}}
{{- define "drqueue.guardBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{- include "drqueue.guardMetadata" . | nindent 2 }}
spec:
  policyName: {{ include "drqueue.clusterSlug" .root }}-{{ .part }}
  validationActions: [Deny]
  {{- with .root.Values.watchNamespaces }}
  matchResources:
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: In
          values: {{- append . (include "drqueue.billingNamespace" $.root) | toYaml | nindent 12 }}
  {{- end }}
{{- end -}}
