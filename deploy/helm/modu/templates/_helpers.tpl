{{- define "modu.labels" -}}
app.kubernetes.io/name: modu
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "modu.image" -}}
{{- $at := .Values.image.tag | default .Chart.AppVersion | printf ":%s" -}}
{{- if .Values.image.digest }}{{ $at = printf "@%s" .Values.image.digest }}{{ end -}}
{{ .Values.image.repository }}{{ $at }}
{{- end }}

{{/* What every pod of ours has: no root, no rights, nothing to write to but its folders. */}}
{{- define "modu.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "modu.container" -}}
image: {{ include "modu.image" . }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* A volume belongs to root, a home must be ours: so it is a folder in it, and the keyring a link to another. */}}
{{- define "modu.folders" -}}
{{ include "modu.container" . }}
command: [sh, -euc]
args:
  - |
    mkdir -p -m 0700 "$MODU_HOME" /var/lib/modu-keyring/keyring
    ln -sfn /var/lib/modu-keyring/keyring "$MODU_HOME/keyring"
env:
  - {name: MODU_HOME, value: /var/lib/modu/home}
volumeMounts: {{- include "modu.mounts" . | nindent 2 }}
{{- end }}

{{- define "modu.mounts" -}}
- {name: home, mountPath: /var/lib/modu}
- {name: keyring, mountPath: /var/lib/modu-keyring}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "modu.environment" -}}
- {name: MODU_HOME, value: /var/lib/modu/home}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: MODU_DATABASE__URL
  valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: DATABASE_URL}}
- name: MODU_CELLS__LEASE
  valueFrom: {secretKeyRef: {name: {{ .Values.existingSecret }}, key: CELLS_LEASE}}
- {name: MODU_GATEWAY__BEHIND_PROXY, value: {{ join "," .Values.proxies | required "proxies: name the networks of your ingress controller's pods" | quote }}}
- {name: MODU_GATEWAY__ALLOWED_HOSTS, value: {{ printf "%s,$(POD_IP)" .Values.host | quote }}}
- {name: MODU_GATEWAY__LEAVE_S, value: {{ .Values.leaveSeconds | quote }}}
- {name: MODU_GATEWAY__DRAIN_S, value: {{ .Values.drainSeconds | quote }}}
- {name: MODU_SIGN_IN__PUBLIC_URL, value: {{ printf "https://%s" .Values.host | quote }}}
{{- if .Values.serviceMonitor.enabled }}
- {name: MODU_GATEWAY__SCRAPED_BY, value: {{ join "," .Values.serviceMonitor.networks | required "serviceMonitor.networks: name those of Prometheus' pods" | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ printf "MODU_%s" ($name | upper | replace "." "__") }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}
