{{/* What all services have in common. Each takes (dict "root" $ "service" name "settings" its values). */}}

{{- define "forebay.labels" -}}
app.kubernetes.io/name: forebay
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .service }}
{{- end }}

{{- define "forebay.metadata" -}}
name: {{ .root.Release.Name }}-{{ .service }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "forebay.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Values.image.tag | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "forebay.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "forebay.metadata" . | nindent 2 }}
  annotations:
    eks.amazonaws.com/role-arn: {{ required (printf "%s: roleArn is needed, the role that the service stands for" .service) .settings.roleArn }}
automountServiceAccountToken: false
{{- end }}

{{/* Where the service sends spans, and nothing where it does not. */}}
{{- define "forebay.traced" -}}
{{- if has .service (list "ingest-gateway" "dedup-service" "writer-service") }}{{ .root.Values.telemetry.otlpEndpoint }}{{ end }}
{{- end }}

{{/* Where the service sends spans, metrics or both: the others have nothing but metrics. */}}
{{- define "forebay.collector" -}}
{{- if .root.Values.telemetry.metricsEvery }}{{ .root.Values.telemetry.otlpEndpoint }}{{ else }}{{ include "forebay.traced" . }}{{ end }}
{{- end }}

{{/*
One container; nothing but the mounts of `scratch` can be written to. `image` is the name of its image where that is not the
service's, and `stopsAtOnce` is for a process that has nothing to drain.
*/}}
{{- define "forebay.container" -}}
name: {{ .service }}
image: {{ required "image.registry is needed" .root.Values.image.registry }}/{{ .image | default .service }}:{{ required "image.tag is needed" .root.Values.image.tag }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
env:
  {{- $aws := .root.Values.aws }}
  {{- $environment := dict
      "AWS_REGION" $aws.region
      "FOREBAY_ADMIN_ADDR" "0.0.0.0:8082"
      "FOREBAY_BACKEND" "aws"
      "FOREBAY_BUCKET" (required "aws.bucket is needed" $aws.bucket)
      "FOREBAY_CLEAN_STREAM" $aws.cleanStream
      "FOREBAY_LOG_FORMAT" "json"
      "FOREBAY_OVERFLOW_QUEUE" $aws.overflowQueue
      "FOREBAY_RAW_STREAM" $aws.rawStream
      "FOREBAY_TABLE" $aws.table
      "FOREBAY_TASK_QUEUE" $aws.taskQueue }}
  {{- if not .stopsAtOnce }}
  {{- $_ := set $environment "FOREBAY_SHUTDOWN_GRACE" (printf "%ds" (int .root.Values.shutdownGraceSeconds)) }}
  {{- end }}
  {{- if include "forebay.traced" . }}
  {{- $_ := set $environment "FOREBAY_TRACE_SAMPLE" .root.Values.telemetry.traceSample }}
  {{- end }}
  {{- with include "forebay.collector" . }}
  {{- $_ := set $environment "FOREBAY_OTLP_ENDPOINT" . }}
  {{- with $.root.Values.telemetry.metricsEvery }}
  {{- $_ := set $environment "FOREBAY_OTLP_METRICS_EVERY" . }}
  {{- end }}
  {{- end }}
  {{- range $name, $value := merge (dict) .root.Values.environment (.environment | default dict) $environment }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- if .secret }}
  - name: FOREBAY_WRITE_KEYS
    valueFrom:
      secretKeyRef:
        name: {{ .secret }}
        key: write-keys
  {{- end }}
resources:
  {{- toYaml .settings.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
{{- end }}

{{/* Alive as long as it answers; ready when it can do its work, as it says by the name `health` or its own. */}}
{{- define "forebay.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  grpc:
    port: 8082
    service: {{ .health | default .service }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "forebay.pod" -}}
serviceAccountName: {{ .root.Release.Name }}-{{ .service }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .root.Values.shutdownGraceSeconds 15 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "forebay.labels" $ | nindent 8 }}
  {{- end }}
{{- end }}

{{/* Keeps a drain of nodes from ending all pods at once. */}}
{{- define "forebay.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "forebay.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "forebay.labels" . | nindent 6 }}
{{- end }}

{{/* Whether a reader has a consumer of its own: as its pods are told, whoever tells them. */}}
{{- define "forebay.fansOut" -}}
{{- eq "true" (get (merge (dict) .root.Values.environment .environment) "FOREBAY_FAN_OUT" | toString) }}
{{- end }}

{{/* A reader of a stream: takes `stream` as well, the one whose lag adds pods, and its `consumer` of that stream for fan-out. */}}
{{- define "forebay.reader" -}}
{{ include "forebay.account" . }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "forebay.metadata" . | nindent 2 }}
spec:
  {{- if not .root.Values.keda.enabled }}
  replicas: {{ .settings.replicasMin }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "forebay.labels" . | nindent 6 }}
  # Leases are handed over one pod after the other.
  strategy:
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }
  template:
    metadata:
      labels:
        {{- include "forebay.labels" . | nindent 8 }}
    spec:
      {{- include "forebay.pod" . | nindent 6 }}
      containers:
        -
          {{- include "forebay.container" . | nindent 10 }}
          {{- include "forebay.probes" . | nindent 10 }}
          ports:
            - { name: admin, containerPort: 8082 }
---
{{ include "forebay.budget" . }}
{{- if .root.Values.keda.enabled }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "forebay.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ .root.Release.Name }}-{{ .service }}
  minReplicaCount: {{ .settings.replicasMin }}
  maxReplicaCount: {{ .settings.replicasMax }}
  pollingInterval: 60
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        # Each change makes pods share the shards anew.
        scaleUp: { stabilizationWindowSeconds: 120 }
        scaleDown: { stabilizationWindowSeconds: 1800 }
  triggers:
    - type: aws-cloudwatch
      metricType: Value
      metadata:
        awsRegion: {{ .root.Values.aws.region }}
        identityOwner: operator
        namespace: AWS/Kinesis
        {{- if eq (include "forebay.fansOut" .) "true" }}
        # Who subscribes asks for no records, so Kinesis knows of no age of theirs.
        metricName: SubscribeToShardEvent.MillisBehindLatest
        dimensionName: StreamName;ConsumerName
        dimensionValue: {{ .stream }};{{ .consumer }}
        {{- else }}
        metricName: GetRecords.IteratorAgeMilliseconds
        dimensionName: StreamName
        dimensionValue: {{ .stream }}
        {{- end }}
        metricStat: Maximum
        metricStatPeriod: "60"
        metricCollectionTime: "300"
        targetMetricValue: {{ .settings.lagTargetMs | int | quote }}
        minMetricValue: "0"
{{- end }}
{{- end }}
