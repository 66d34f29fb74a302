variable "name" {
  description = "What every resource's name begins with; two installations in one account need two names."
  type        = string
  default     = "forebay"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}$", var.name))
    error_message = "Names of buckets, load balancers and streams begin with it: 2 to 21 small letters, digits and hyphens, a letter first."
  }
}

variable "tags" {
  description = "Tags of all resources, next to those of the provider."
  type        = map(string)
  default     = {}
}

variable "image_tag" {
  description = "Tag of the images of all services. Tags are immutable: a release is a new tag here."
  type        = string
}

variable "certificate_arn" {
  description = "ARN of the ACM certificate that the load balancer shows."
  type        = string
}

variable "write_keys_secret_arn" {
  description = "ARN of the Secrets Manager secret whose text is FOREBAY_WRITE_KEYS (SOURCE=KEY, several by commas), under the default key of Secrets Manager. Null lets anybody send who reaches the load balancer."
  type        = string
  default     = null
}

variable "cors_origins" {
  description = "Web origins whose pages may send, by commas; `*` for all."
  type        = string
  default     = "*"
}

variable "deletion_protection" {
  description = "Refuse to delete the ledger's table and the load balancer, and buckets that hold something."
  type        = bool
  default     = true
}

# Network

variable "cidr" {
  description = "Addresses of the network, a /16 to /20."
  type        = string
  default     = "10.64.0.0/16"
}

variable "zones" {
  description = "Availability zones that are used, by name: a list of AWS's own would move subnets when it grows. Each costs its interface endpoints; two outlive the loss of one."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 4
    error_message = "A load balancer needs at least 2 zones; more than 4 find no room in the network's plan of addresses."
  }
}

variable "public" {
  description = "Whether the load balancer is reached from the internet. Otherwise only from the networks in allowed_cidrs, through peering or a VPN."
  type        = bool
  default     = true
}

variable "allowed_cidrs" {
  description = "Addresses that may reach the load balancer."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

# Streams

variable "stream_shards" {
  description = "Shards of the raw and of the clean stream. Null for on-demand streams, whose shards Kinesis splits and merges by itself. Readers stop when the mode of their stream changes; ECS starts them again, and they go on, since it was declared here."
  type = object({
    raw   = number
    clean = number
  })
  default = null
}

variable "stream_retention_hours" {
  description = "How long streams keep records: how long dedup or writer may be down without a loss."
  type        = number
  default     = 168

  validation {
    condition     = var.stream_retention_hours >= 168 && var.stream_retention_hours <= 8760
    error_message = "Kinesis keeps records for at most 8760 hours, and less than 168 leaves no long weekend for a repair."
  }
}

variable "stream_generations" {
  description = "Pairs of streams that there are, by number, oldest first; services use the last one. The first is called after the installation alone, number 2 ends in -2. A new number makes streams of their own and keeps the others, as deploy/runbooks/ledger-restored.md asks for."
  type        = list(number)
  default     = [1]

  validation {
    condition     = length(var.stream_generations) > 0 && alltrue([for number in var.stream_generations : number >= 1 && floor(number) == number])
    error_message = "stream_generations needs at least one generation, numbered from 1."
  }

  validation {
    condition     = alltrue([for place, number in var.stream_generations : place == 0 || number > var.stream_generations[max(place - 1, 0)]])
    error_message = "stream_generations has each number once, and the newest, which services use, last."
  }
}

variable "fan_out" {
  description = "Read each stream through a consumer with throughput of its own (enhanced fan-out): quicker, and billed by shard and byte."
  type        = bool
  default     = false
}

# Ledger

variable "table_name" {
  description = "The ledger's table, where it is not called as the installation: one that was restored under another name, and imported, as deploy/runbooks/ledger-restored.md says. Null for the installation's name."
  type        = string
  default     = null

  validation {
    condition     = var.table_name == null || can(regex("^[a-zA-Z0-9_.-]{3,255}$", var.table_name))
    error_message = "table_name must be 3 to 255 letters, digits, underscores, hyphens and dots, as DynamoDB has it."
  }
}

# Queues

variable "dedup_window_hours" {
  description = "Copies of an event that are received closer together than this are recognised as duplicates."
  type        = number
  default     = 24
}

variable "overflow_retention_hours" {
  description = "How long the overflow queue keeps records that the raw stream refused."
  type        = number
  default     = 12

  validation {
    condition     = var.overflow_retention_hours >= 1 && var.overflow_retention_hours < var.dedup_window_hours
    error_message = "overflow_retention_hours must be at least 1 and less than dedup_window_hours: a copy that waits longer would not be recognised, and gateways refuse to start."
  }
}

# Services

variable "record_level" {
  description = "zstd level of the gateway's records. On Kinesis bytes are paid for, so they are compressed more than the binary's own default does."
  type        = number
  default     = 1
}

variable "dedup_linger" {
  description = "Pause of the dedup stage between two reads that found little: longer is fewer ledger writes and less freshness."
  type        = string
  default     = "10s"
}

variable "flush_interval" {
  description = "Longest time that an event waits for its object in the lake."
  type        = string
  default     = "60s"
}

variable "shutdown_grace_seconds" {
  description = "How long a process may drain. ECS waits 20 s longer before it kills."
  type        = number
  default     = 25

  validation {
    condition     = var.shutdown_grace_seconds >= 20 && var.shutdown_grace_seconds <= 100
    error_message = "The gateway's notice takes 5 s of it and its connections up to 10 s more, and Fargate kills after 120 s whatever is asked of it."
  }
}

variable "extra_environment" {
  description = "Further settings by service and environment variable, as a halt or a runbook asks for one: { writer-service = { FOREBAY_ACCEPT_TRIMMED = \"SHARD:POSITION\" } }. They come after those that have a variable here. No secrets: whoever may describe a task reads them."
  type        = map(map(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.extra_environment), ["ingest-gateway", "dedup-service", "writer-service", "compactor", "audit"])) == 0
    error_message = "extra_environment is by service: ingest-gateway, dedup-service, writer-service, compactor, audit."
  }

  validation {
    condition     = alltrue([for settings in values(var.extra_environment) : alltrue([for setting in keys(settings) : can(regex("^FOREBAY_[A-Z0-9_]+$", setting))])])
    error_message = "extra_environment names settings by their environment variables, which begin with FOREBAY_."
  }

  # Roles, alarms, ports and time-outs follow these: set the variable that they come from.
  validation {
    condition = length(setintersection(flatten([for settings in values(var.extra_environment) : keys(settings)]), [
      "FOREBAY_ACCEPT_CHANGED",
      "FOREBAY_ADMIN_ADDR",
      "FOREBAY_AWS_ENDPOINT",
      "FOREBAY_AWS_REGION",
      "FOREBAY_BACKEND",
      "FOREBAY_BUCKET",
      "FOREBAY_BUCKET_PREFIX",
      "FOREBAY_CLEAN_STREAM",
      "FOREBAY_FAN_OUT",
      "FOREBAY_GRPC_ADDR",
      "FOREBAY_HTTP_ADDR",
      "FOREBAY_KMS_KEY",
      "FOREBAY_LOG_FORMAT",
      "FOREBAY_OTLP_ENDPOINT",
      "FOREBAY_OVERFLOW_QUEUE",
      "FOREBAY_RAW_STREAM",
      "FOREBAY_SHUTDOWN_GRACE",
      "FOREBAY_SPILL_DIR",
      "FOREBAY_TABLE",
      "FOREBAY_TASK_QUEUE",
      "FOREBAY_TLS_CERT",
      "FOREBAY_TLS_KEY",
      "FOREBAY_WRITE_KEYS",
    ])) == 0
    error_message = "extra_environment may not name what roles, alarms, ports and time-outs follow: stream_generations, table_name, fan_out, otlp_endpoint, shutdown_grace_seconds and write_keys_secret_arn are variables of their own, and the other names can't be varied."
  }
}

variable "gateway" {
  description = "Size of the gateway: tasks, CPU units and MiB of each, and the load at which tasks are added."
  type = object({
    tasks_min            = number
    tasks_max            = number
    cpu                  = number
    memory               = number
    requests_each_minute = number
  })
  default = { tasks_min = 2, tasks_max = 8, cpu = 512, memory = 1024, requests_each_minute = 60000 }
}

variable "dedup" {
  description = "Size of the dedup stage. More tasks than shards find nothing to do; memory must hold the ids of the window, about 34 bytes each."
  type        = object({ tasks_min = number, tasks_max = number, cpu = number, memory = number, window_ids_max = number })
  default     = { tasks_min = 2, tasks_max = 4, cpu = 512, memory = 2048, window_ids_max = 40000000 }
}

variable "writer" {
  description = "Size of the writer. row_memory is what waits for its objects, as in 112MiB; the rest of the memory is for encoding."
  type        = object({ tasks_min = number, tasks_max = number, cpu = number, memory = number, row_memory = string })
  default     = { tasks_min = 2, tasks_max = 4, cpu = 512, memory = 1024, row_memory = "112MiB" }
}

variable "compactor" {
  description = "Size of the compactor: at most workers_max tasks share each night's plans, and none runs while there is nothing to do. sort_memory is for rows, as in 512MiB; what is beyond goes to the disk of disk_gib."
  type        = object({ workers_max = number, cpu = number, memory = number, sort_memory = string, disk_gib = number })
  default     = { workers_max = 1, cpu = 1024, memory = 2048, sort_memory = "512MiB", disk_gib = 50 }

  validation {
    condition     = var.compactor.workers_max >= 1
    error_message = "compactor.workers_max must be at least 1: nobody else carries out what is planned."
  }

  validation {
    condition     = var.compactor.disk_gib >= 21 && var.compactor.disk_gib <= 200
    error_message = "Fargate gives tasks from 21 to 200 GiB of disk."
  }
}

variable "audit" {
  description = "The watch over the chains: pause between two looks, how long an event may be on its way, though what comes behind it is written, before it is missing, and the size of its one task."
  type        = object({ every = string, missing_after = string, cpu = number, memory = number })
  default     = { every = "1m", missing_after = "10m", cpu = 256, memory = 512 }

  validation {
    condition     = can(regex("^([1-9][0-9]?s|[1-5]m(in)?)$", var.audit.every))
    error_message = "audit.every must be from 1s to 5m: the alarm conservation-silent waits 15 minutes for a look."
  }
}

# Operation

variable "alarm_actions" {
  description = "ARNs of what an alarm notifies, such as an SNS topic that pages somebody. Without any, alarms only show in CloudWatch."
  type        = list(string)
  default     = []
}

variable "monitoring_security_group_ids" {
  description = "Security groups of whoever watches from inside the network, such as a Prometheus or a collector: they may read health and figures of every task, and tasks reach the collector of otlp_endpoint there. None leaves that to CloudWatch."
  type        = list(string)
  default     = []
}

variable "otlp_endpoint" {
  description = "Collector that gateway, dedup and writer send spans to, by OTLP over gRPC, as in http://collector.example.internal:4317. Null for none: nothing is traced."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null || can(regex("^http://[^/:]+:[0-9]+/?$", var.otlp_endpoint))
    error_message = "otlp_endpoint must be http://, a host, and the port that the collector takes OTLP over gRPC at."
  }

  validation {
    condition     = var.otlp_endpoint == null || length(var.monitoring_security_group_ids) > 0
    error_message = "otlp_endpoint needs the collector's security group in monitoring_security_group_ids: tasks get out to nobody else."
  }
}

variable "otlp_metrics_every" {
  description = "How often all services send their metrics to otlp_endpoint as well, as in 60s. Null for never."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_metrics_every == null || var.otlp_endpoint != null
    error_message = "otlp_metrics_every needs otlp_endpoint, where metrics are sent to."
  }
}

variable "trace_sample" {
  description = "Fraction of requests that are traced where there is an otlp_endpoint."
  type        = string
  default     = "0.1%"
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
}
