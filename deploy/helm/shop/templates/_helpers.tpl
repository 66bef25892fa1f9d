{{/* A process's name, also that of its Service: the release and what it is. */}}
{{- define "shop.name" -}}
{{ .root.Release.Name }}-{{ .process }}
{{- end }}

{{/* By these a Deployment finds its pods; they never change. */}}
{{- define "shop.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .process }}
{{- end }}

{{- define "shop.labels" -}}
{{ include "shop.selector" . }}
app.kubernetes.io/name: shop
app.kubernetes.io/part-of: shop
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "shop.image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* A variable out of a Secret: that of an operator for its server, else that of whoever installs this. */}}
{{- define "shop.secret" -}}
{{- $source := dict "name" .secret "key" .variable -}}
{{- if and (hasSuffix "_DATABASE_URL" .variable) .root.Values.cloudnativepg.enabled -}}
{{- $source = dict "name" (printf "%s-%s-db-app" .root.Release.Name (.variable | trimSuffix "_DATABASE_URL" | lower)) "key" "uri" -}}
{{- else if eq .variable "BROKER_URL" -}}
{{- $source = dict "name" .secret "key" (printf "%s_BROKER_URL" (.user | upper)) -}}
{{- else if eq .variable "INTERNAL_KEY" -}}
{{- $source = dict "name" .secret "key" (printf "%s_INTERNAL_KEY" (.user | upper)) -}}
{{- end -}}
{{- if and (eq .variable "BROKER_ADMIN_URL") .root.Values.rabbitmq.enabled -}}
{{- $admin := printf "%s-rabbitmq-default-user" .root.Release.Name -}}
- {name: ADMIN, valueFrom: {secretKeyRef: {name: {{ $admin }}, key: username}}}
- {name: ADMIN_PASSWORD, valueFrom: {secretKeyRef: {name: {{ $admin }}, key: password}}}
- {name: BROKER_ADMIN_URL, value: "http://$(ADMIN):$(ADMIN_PASSWORD)@{{ .root.Release.Name }}-rabbitmq:15672"}
{{- else -}}
- name: {{ .variable }}
  valueFrom: {secretKeyRef: {name: {{ $source.name }}, key: {{ $source.key }}{{ if .optional }}, optional: true{{ end }}}}
{{- end }}
{{ end }}

{{/* What a process is told. `service` is SHOP_SERVICE, or empty for those that need no database. */}}
{{- define "shop.env" -}}
{{- $root := .root -}}
{{- $service := .service | default "" -}}
{{- $own := .own | default dict -}}
{{- $name := include "shop.name" . -}}
{{- $plain := merge (dict
    "ALLOWED_HOSTS" (join "," (append $root.Values.hosts (include "shop.name" (dict "root" $root "process" ($service | default "shop")))))
    "HTTPS" (empty $root.Values.gateway.trustedProxies | ternary "0" "1")
    "PROMETHEUS_MULTIPROC_DIR" "var/metrics"
    "METRICS_PORT" "9100"
    "METRICS_ADDRESS" "0.0.0.0"
    "HEARTBEAT_FILE" "/tmp/alive"
) ($own.environment | default dict) $root.Values.environment -}}
{{- $secrets := concat (list "SECRET_KEY" "INTERNAL_CALLERS" "JWT_PUBLIC_KEY" "LOCKS_URL" "CACHE_URL") ($own.secrets | default list) -}}
{{- range $other, $_ := omit $root.Values.services "shop" -}}
  {{- $_ := set $plain (printf "%s_URL" (upper $other)) (printf "http://%s-%s:8080" $root.Release.Name $other) -}}
  {{- if has $service (list "shop" $other) -}}
    {{- $secrets = append $secrets (printf "%s_DATABASE_URL" (upper $other)) -}}
  {{- end -}}
{{- end -}}
{{- if eq $service "shop" -}}
  {{- $secrets = append $secrets "SEAL_KEY" -}}
{{- end -}}
{{- if $service -}}
  {{- $_ := set $plain "SHOP_SERVICE" $service -}}
{{- else -}}
  {{- $_ := set $plain "DATABASE_URL" "postgres://nobody@nowhere:5432/" -}}
{{- end -}}
{{- /* Its user at the broker; catalog sends nothing. */}}
{{- $user := $service | default .process -}}
{{- if eq $user "shop" }}{{ $user = "office" }}{{ end -}}
{{- if or $own.saga (has $user (list "office" "beat" "flower")) -}}
  {{- $secrets = append $secrets "BROKER_URL" -}}
{{- end -}}
{{- $secret := $root.Values.existingSecret -}}
{{- range $variable, $value := $plain }}
- {name: {{ $variable }}, value: {{ $value | toString | quote }}}
{{- end }}
{{ range $secrets -}}
{{ include "shop.secret" (dict "root" $root "secret" $secret "variable" . "user" $user) }}
{{- end -}}
{{ range $own.optionalSecrets -}}
{{ include "shop.secret" (dict "root" $root "secret" $secret "variable" . "optional" true) }}
{{- end -}}
{{- end }}

{{/* What is asked of a pod and of its containers: no root, nothing to write to but its own folders, no rights. */}}
{{- define "shop.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false  # a Service called flower would set FLOWER_PORT
terminationGracePeriodSeconds: 30  # a worker ends within 20 s
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "shop.contained" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end }}

{{- define "shop.container" -}}
image: {{ include "shop.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ .program | toJson }}
env:
  {{- include "shop.env" . | trim | nindent 2 }}
{{- range $n, $secret := (.own | default dict).secretsFrom }}
{{- if not $n }}
envFrom:
{{- end }}
  - secretRef: {name: {{ $secret }}}
{{- end }}
resources: {{ toJson .resources }}
securityContext: {{ include "shop.contained" . }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: var, mountPath: /srv/shop/var}
{{- end }}

{{- define "shop.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 64Mi}}
- {name: var, emptyDir: {sizeLimit: 64Mi}}
{{- end }}

{{/* Whether a worker's, a relay's or beat's loop still turns: see supervision/. */}}
{{- define "shop.alive" -}}
exec: {command: [sh, -c, "[ $(($(cut -d. -f1 /proc/uptime) - $(cat /tmp/alive))) -lt 45 ]"]}
{{- end }}

{{/* A web server is asked on its last port, where it answers while all its threads wait. */}}
{{- define "shop.probes" -}}
{{- if eq .kind "background" }}
startupProbe: { {{- include "shop.alive" . }}, periodSeconds: 3, failureThreshold: 60, timeoutSeconds: 5}
livenessProbe: { {{- include "shop.alive" . }}, periodSeconds: 10, failureThreshold: 1, timeoutSeconds: 5}
{{- else }}
startupProbe: {httpGet: {path: {{ .live }}, port: {{ (last .ports).name }}}, periodSeconds: 3, failureThreshold: 60, timeoutSeconds: 5}
livenessProbe: {httpGet: {path: {{ .live }}, port: {{ (last .ports).name }}}, periodSeconds: 10, failureThreshold: 3, timeoutSeconds: 5}
readinessProbe: {httpGet: {path: {{ .ready }}, port: {{ (last .ports).name }}}, periodSeconds: 5, failureThreshold: 3, timeoutSeconds: 10}
{{- end }}
{{- end }}

{{/* A Deployment of one of our processes. */}}
{{- define "shop.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "shop.name" . }}
  labels: {{- include "shop.labels" . | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .replicas }}
  {{- end }}
  strategy: {{ .strategy | default (dict "type" "RollingUpdate" "rollingUpdate" (dict "maxUnavailable" 0 "maxSurge" 1)) | toJson }}
  selector:
    matchLabels: {{- include "shop.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "shop.labels" . | nindent 8 }}
    spec:
      {{- include "shop.pod" . | nindent 6 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "shop.selector" . | nindent 14 }}
      {{- if and .root.Values.cloudnativepg.enabled .service }}
      initContainers:  # the databases are made, and migrated, by the same installation
        - name: wait
          {{- include "shop.container" (merge (dict "program" (list "sh" "-c" "until python manage.py migrate_all --check; do sleep 3; done")) .) | nindent 10 }}
      {{- end }}
      containers:
        - name: {{ .process }}
          {{- include "shop.container" . | nindent 10 }}
          ports: [{{ range $n, $port := .ports }}{{ if $n }}, {{ end }}{name: {{ $port.name }}, containerPort: {{ $port.number }}}{{ end }}]
          {{- include "shop.probes" . | nindent 10 }}
      volumes: {{- include "shop.volumes" . | nindent 8 }}
{{- end }}

{{- define "shop.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "shop.name" . }}
  labels: {{- include "shop.labels" . | nindent 4 }}
spec:
  type: {{ .type | default "ClusterIP" }}
  selector: {{- include "shop.selector" . | nindent 4 }}
  ports: [{{ range $n, $port := .ports }}{{ if $n }}, {{ end }}{name: {{ $port.name }}, port: {{ $port.number }}, targetPort: {{ $port.name }}}{{ end }}]
{{- end }}
