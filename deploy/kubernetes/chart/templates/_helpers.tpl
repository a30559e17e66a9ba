{{/* Name of every object. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains "penstock" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-penstock" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What selects the pods of a component: never changes. */}}
{{- define "penstock.selector" -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "penstock.labels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{/* Name, namespace and labels of an object: root, component, and what is behind the name. */}}
{{- define "penstock.metadata" -}}
name: {{ include "penstock.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "penstock.labels" . | nindent 2 }}
{{- end }}

{{- define "penstock.image" -}}
{{- $image := .Values.image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "penstock.hasCallbacks" -}}
{{- if and (eq .Values.form "production") (dig "callbacks" "endpoints" (list) .Values.settings) }}yes{{ end }}
{{- end }}

{{/* The roles that are installed, as components. */}}
{{- define "penstock.roles" -}}
{{- if eq .Values.form "embedded" }}embedded
{{- else }}intake worker{{ if include "penstock.hasCallbacks" . }} callbacks{{ end }}{{ end }}
{{- end }}

{{/* The role that takes batches in. */}}
{{- define "penstock.door" -}}
{{- eq .Values.form "embedded" | ternary "embedded" "intake" }}
{{- end }}

{{/* Settings as the variables that set them. A list, and a map whose keys are somebody else's, is JSON. */}}
{{- define "penstock.variables" -}}
{{- $whole := list "queue.kafka.extra" "callbacks.operator.headers" "callbacks.operator.header_files" "reference.account_types" "reference.business_units" "reference.business_entities" "reference.own_bics" }}
{{- $path := .path }}
{{- range $key, $value := .tree }}
{{- $here := empty $path | ternary $key (printf "%s.%s" $path $key) }}
{{- if kindIs "invalid" $value }}
{{- else if and (kindIs "map" $value) (not (has $here $whole)) }}
{{- include "penstock.variables" (dict "path" $here "tree" $value) }}
{{- else }}
{{ dict (printf "PENSTOCK__%s" ($here | replace "." "__" | upper)) (kindIs "string" $value | ternary $value ($value | toJson)) | toYaml }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings of every role: those of the values, and what the chart decides. */}}
{{- define "penstock.settings" -}}
{{- $values := .Values }}
{{- $decided := dict "admin" (dict "listen" "0.0.0.0:9464") "intake" (dict "listen" "0.0.0.0:8080") "shutdown" (dict "drain_timeout" (printf "%ds" (int $values.drainSeconds))) }}
{{- if eq $values.form "embedded" }}
{{- $_ := set $decided "data_dir" "/var/lib/penstock" }}
{{- else }}
{{- $_ := set $decided "queue" (dict "kind" "kafka") }}
{{- $_ := set $decided "store" (dict "kind" "postgres") }}
{{- if $values.kafka.caSecret.name }}
{{- $_ := set $decided.queue "kafka" (dict "security" (dict "ca_file" "/run/secrets/penstock/kafka-ca.crt")) }}
{{- end }}
{{- if $values.postgres.caSecret.name }}
{{- $_ := set $decided.store "postgres" (dict "ca_file" "/run/secrets/penstock/postgres-ca.crt") }}
{{- end }}
{{- end }}
{{- include "penstock.variables" (dict "path" "" "tree" (mustMergeOverwrite (deepCopy $values.settings) $decided)) }}
{{- end }}

{{/* What of the settings the Jobs need: where queue and store are. */}}
{{- define "penstock.setupSettings" -}}
{{- range $line := include "penstock.settings" . | trim | splitList "\n" }}
{{- if or (hasPrefix "PENSTOCK__QUEUE__" $line) (hasPrefix "PENSTOCK__STORE__" $line) }}
{{ $line }}
{{- end }}
{{- end }}
{{- end }}

{{/* Seconds from the signal to the end of a pod: what it may take until then, and 5 to be sure. */}}
{{- define "penstock.grace" -}}
{{- $export := dig "telemetry" "otlp" "endpoint" "" .root.Values.settings | empty | ternary 0 5 }}
{{- add .preStop .root.Values.drainSeconds $export 4 5 }}
{{- end }}

{{- define "penstock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Files of Secrets: root, kafka (of the role), passwordSecret (of the database's user), tokens, keysSecret. */}}
{{- define "penstock.secretFiles" -}}
{{- $values := .root.Values }}
{{- $production := eq $values.form "production" }}
{{- $files := list }}
{{- if and .tokens $values.auth.tokensSecret.name }}
{{- $files = append $files (list $values.auth.tokensSecret.name $values.auth.tokensSecret.key "tokens") }}
{{- end }}
{{- if and .kafka $production }}
{{- with .kafka.passwordSecret.name }}
{{- $files = append $files (list . $.kafka.passwordSecret.key "kafka-password") }}
{{- end }}
{{- with .kafka.certificateSecret }}
{{- $files = append $files (list . "user.crt" "kafka.crt") }}
{{- $files = append $files (list . "user.key" "kafka.key") }}
{{- end }}
{{- with $values.kafka.caSecret.name }}
{{- $files = append $files (list . $values.kafka.caSecret.key "kafka-ca.crt") }}
{{- end }}
{{- end }}
{{- if and .passwordSecret $production }}
{{- with .passwordSecret.name }}
{{- $files = append $files (list . $.passwordSecret.key "postgres-password") }}
{{- end }}
{{- with $values.postgres.caSecret.name }}
{{- $files = append $files (list . $values.postgres.caSecret.key "postgres-ca.crt") }}
{{- end }}
{{- end }}
{{- range $files }}
- secret:
    name: {{ index . 0 }}
    items: [{key: {{ index . 1 | quote }}, path: {{ index . 2 }}}]
{{- end }}
{{- end }}

{{/* Variables that name those files, and who the role is to the brokers. */}}
{{- define "penstock.secretVariables" -}}
{{- $values := .root.Values }}
{{- $production := eq $values.form "production" }}
{{- if and .tokens $values.auth.tokensSecret.name }}
- {name: PENSTOCK__AUTH__TOKENS_FILE, value: /run/secrets/penstock/tokens}
{{- end }}
{{- if and .kafka $production }}
{{- with .kafka.user }}
- {name: PENSTOCK__QUEUE__KAFKA__SECURITY__USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if .kafka.passwordSecret.name }}
- {name: PENSTOCK__QUEUE__KAFKA__SECURITY__PASSWORD_FILE, value: /run/secrets/penstock/kafka-password}
{{- end }}
{{- if .kafka.certificateSecret }}
- {name: PENSTOCK__QUEUE__KAFKA__SECURITY__CERTIFICATE_FILE, value: /run/secrets/penstock/kafka.crt}
- {name: PENSTOCK__QUEUE__KAFKA__SECURITY__KEY_FILE, value: /run/secrets/penstock/kafka.key}
{{- end }}
{{- end }}
{{- if and .passwordSecret $production }}
{{- if .passwordSecret.name }}
- {name: PENSTOCK__STORE__POSTGRES__PASSWORD_FILE, value: /run/secrets/penstock/postgres-password}
{{- end }}
{{- end }}
{{- end }}

{{/* The pod of a role: root, component, role (its values), arguments, door (whether it takes batches in). */}}
{{- define "penstock.pod" -}}
{{- $values := .root.Values }}
{{- $name := include "penstock.fullname" .root }}
{{- $preStop := .door | ternary (int $values.intake.preStopSeconds) 0 }}
{{- $files := dict "root" .root "kafka" .role.kafka "passwordSecret" $values.postgres.passwordSecret "tokens" .door }}
{{- $secrets := include "penstock.secretFiles" $files | trim }}
{{- $keys := and (or (eq .component "callbacks") (eq .component "embedded")) $values.callbacks.keysSecret }}
metadata:
  labels:
    {{- include "penstock.labels" . | nindent 4 }}
    penstock/admin: "yes"
  annotations:
    # Settings that have changed start the pods anew.
    penstock/settings: {{ include "penstock.settings" .root | sha256sum | trunc 16 | quote }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  # A Service's variables could be taken for settings.
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .role.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "penstock.grace" (dict "root" .root "preStop" $preStop) }}
  securityContext:
    {{- include "penstock.podSecurity" . | nindent 4 }}
  {{- if ne .component "embedded" }}
  topologySpreadConstraints:
    {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      # Pods of the revision before do not count, or a rollout would end unevenly.
      matchLabelKeys: [{{ eq $.component "worker" | ternary "controller-revision-hash" "pod-template-hash" }}]
      labelSelector:
        matchLabels:
          {{- include "penstock.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: penstock
      image: {{ include "penstock.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ .arguments | toJson }}
      envFrom:
        - configMapRef: {name: {{ $name }}-settings}
      env:
        {{- if eq .component "worker" }}
        # Makes lanes static members: a pod that is back in time finds its partitions where they were.
        - name: PENSTOCK__QUEUE__KAFKA__INSTANCE_ID
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- end }}
        {{- include "penstock.secretVariables" $files | trim | nindent 8 }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- if .door }}
        - {name: http, containerPort: 8080}
        {{- end }}
        - {name: admin, containerPort: 9464}
      # It answers once the role has started: brokers and database were found, topics and schema fit.
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 2
        failureThreshold: 60
      # Asks nothing but the process itself: an outage elsewhere restarts nobody.
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      # Its checks may take 2 s.
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      {{- if .door }}
      # The process stops accepting as soon as it is asked to stop. Until then proxies have to learn that the pod goes.
      lifecycle:
        preStop: {sleep: {seconds: {{ $preStop }}}}
      {{- end }}
      resources:
        {{- toYaml .role.resources | nindent 8 }}
      securityContext:
        {{- include "penstock.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if eq .component "embedded" }}
        - {name: data, mountPath: /var/lib/penstock}
        {{- end }}
        {{- if $secrets }}
        - {name: secrets, mountPath: /run/secrets/penstock, readOnly: true}
        {{- end }}
        {{- if $keys }}
        - {name: keys, mountPath: /run/secrets/callbacks, readOnly: true}
        {{- end }}
        {{- if $values.referenceConfigMap }}
        - {name: reference, mountPath: /etc/penstock/reference, readOnly: true}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
    {{- if $secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- $secrets | nindent 10 }}
    {{- end }}
    {{- if $keys }}
    - name: keys
      secret: {secretName: {{ $values.callbacks.keysSecret }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.referenceConfigMap }}
    - name: reference
      configMap: {name: {{ . }}}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Where a trigger of KEDA asks, and what. */}}
{{- define "penstock.prometheus" -}}
{{- with .root.Values.keda.prometheus.triggerAuthentication }}
authenticationRef: {name: {{ . }}}
{{- end }}
metadata:
  serverAddress: {{ .root.Values.keda.prometheus.serverAddress }}
  query: {{ .query | squote }}
  threshold: {{ .threshold | quote }}
{{- end }}

{{/* A NetworkPolicy's rule to peers and ports. */}}
{{- define "penstock.egress" -}}
- to:
    {{- toYaml .to | nindent 4 }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}

{{- define "penstock.egressDns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* What selects the pods of the Jobs. Another name than the roles' keeps them out of their Services and policies. */}}
{{- define "penstock.setupSelector" -}}
app.kubernetes.io/name: penstock-setup
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Like penstock.metadata, for what is there before the roles. */}}
{{- define "penstock.hooked" -}}
name: {{ include "penstock.fullname" .root }}-{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "penstock.setupSelector" .root | nindent 2 }}
  app.kubernetes.io/component: setup
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation
{{- end }}

{{/* A Job: root, suffix, weight, arguments, files (see penstock.secretFiles), url (of the database, if another). */}}
{{- define "penstock.setupJob" }}
{{- $values := .root.Values }}
{{- $name := include "penstock.fullname" .root }}
{{- $secrets := include "penstock.secretFiles" .files | trim }}
---
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "penstock.hooked" . | nindent 2 }}
spec:
  backoffLimit: 6
  activeDeadlineSeconds: {{ $values.setup.deadlineSeconds }}
  podFailurePolicy:
    rules:
      # The command line, what only an operator can change, or the settings: trying again does not help.
      - action: FailJob
        onExitCodes: {containerName: penstock, operator: In, values: [2, 3, 4]}
      - action: Ignore
        onPodConditions: [{type: DisruptionTarget, status: "True"}]
  template:
    metadata:
      labels:
        {{- include "penstock.setupSelector" .root | nindent 8 }}
        app.kubernetes.io/component: setup
    spec:
      serviceAccountName: {{ $name }}-setup
      automountServiceAccountToken: false
      enableServiceLinks: false
      restartPolicy: Never
      {{- with $values.imagePullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      securityContext:
        {{- include "penstock.podSecurity" . | nindent 8 }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: penstock
          image: {{ include "penstock.image" .root }}
          imagePullPolicy: {{ $values.image.pullPolicy }}
          args: {{ .arguments | toJson }}
          envFrom:
            - configMapRef: {name: {{ $name }}-setup}
          env:
            {{- if eq .suffix "migrate" }}
            # A migration needs no queue, and has no user there that the settings could name.
            - {name: PENSTOCK__QUEUE__KIND, value: sqlite}
            {{- end }}
            {{- with .url }}
            - {name: PENSTOCK__STORE__POSTGRES__URL, value: {{ . | quote }}}
            {{- end }}
            {{- include "penstock.secretVariables" .files | trim | nindent 12 }}
            {{- with $values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {memory: 256Mi}
          securityContext:
            {{- include "penstock.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if $secrets }}
            - {name: secrets, mountPath: /run/secrets/penstock, readOnly: true}
            {{- end }}
            {{- with $values.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- if $secrets }}
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              {{- $secrets | nindent 14 }}
        {{- end }}
        {{- with $values.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end }}
