variable "common" {
  description = "What all services of an installation have in common."
  type = object({
    namespace            = string
    region               = string
    cluster_name         = string
    cluster_arn          = string
    subnet_ids           = list(string)
    admin_port           = number
    stop_timeout_seconds = number
    log_retention_days   = number
    kms_key_arn          = string
    alarm_actions        = list(string)
  })
}

variable "name" {
  description = "Name of the service and of its container."
  type        = string
}

variable "binary" {
  description = "Name of its binary, with which the line begins that says what ended it. Null where it is that of the service."
  type        = string
  default     = null
}

variable "image" {
  description = "Image with its tag."
  type        = string
}

variable "command" {
  description = "Arguments of the binary."
  type        = list(string)
  default     = []
}

variable "environment" {
  description = "Settings."
  type        = map(string)
}

variable "secrets" {
  description = "Settings whose values are in Secrets Manager, by ARN."
  type        = map(string)
  default     = {}
}

variable "cpu" {
  description = "CPU units of a task; 1024 are one processor."
  type        = number
}

variable "memory" {
  description = "MiB of a task."
  type        = number
}

variable "tasks_min" {
  description = "Fewest tasks."
  type        = number
}

variable "tasks_max" {
  description = "Most tasks."
  type        = number
}

variable "task_role_arn" {
  description = "Role of the code."
  type        = string
}

variable "start_role_arn" {
  description = "Role by which ECS starts a task."
  type        = string
}

variable "security_group_id" {
  description = "Security group of the tasks."
  type        = string
}

variable "health_port" {
  description = "Port at which the process shows its health."
  type        = number
}

variable "checks_health" {
  description = "Whether ECS asks for the health of a task, and replaces one that has none for long. Needs a binary with --check-health: images have no other program that could ask."
  type        = bool
  default     = true
}

variable "load_balanced" {
  description = "Target groups, and the port of a task that each sends to."
  type        = list(object({ target_group_arn = string, port = number }))
  default     = []
}

variable "scratch" {
  description = "A folder that the process may write to, and the GiB of disk behind it. Everything else is read-only."
  type        = object({ path = string, disk_gib = number })
  default     = null
}

# What tasks are added and taken away by: one or two of these.

variable "scale_on_cpu_percent" {
  description = "Share of its processors that a task should use."
  type        = number
  default     = null
}

variable "scale_on_requests" {
  description = "Requests of a load balancer that a task should take in a minute."
  type        = object({ resource_label = string, each_minute = number })
  default     = null
}

variable "scale_on_lag_of" {
  description = "CloudWatch's metric, of namespace AWS/Kinesis, of how old the unread records of a stream are."
  type        = object({ metric = string, dimensions = map(string) })
  default     = null
}

variable "scale_on_queue" {
  description = "Name of the queue whose messages need workers."
  type        = string
  default     = null
}
