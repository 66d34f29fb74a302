# A thousandth of the base rate: 1,000 events an hour, for a trial or a product that has just begun.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Application = "forebay" }
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "us-east-1"
}

variable "image_tag" {
  description = "Tag of the images of all services."
  type        = string
}

variable "certificate_arn" {
  description = "ARN of the ACM certificate of the load balancer."
  type        = string
}

variable "write_keys_secret_arn" {
  description = "ARN of the Secrets Manager secret with the write keys."
  type        = string
}

variable "alarm_actions" {
  description = "ARNs of what an alarm notifies."
  type        = list(string)
}

module "forebay" {
  source = "../.."

  zones                 = ["${var.region}a", "${var.region}b"]
  image_tag             = var.image_tag
  certificate_arn       = var.certificate_arn
  write_keys_secret_arn = var.write_keys_secret_arn
  alarm_actions         = var.alarm_actions

  # Two shards, one a stream, cost less than two on-demand streams, which are billed by the hour.
  stream_shards = { raw = 1, clean = 1 }
  # Fewer and larger decisions and objects: freshness is what few events can spare.
  flush_interval = "5min"

  gateway   = { tasks_min = 2, tasks_max = 2, cpu = 256, memory = 512, requests_each_minute = 60000 }
  dedup     = { tasks_min = 1, tasks_max = 1, cpu = 256, memory = 512, window_ids_max = 1000000 }
  writer    = { tasks_min = 1, tasks_max = 1, cpu = 256, memory = 512, row_memory = "64MiB" }
  compactor = { workers_max = 1, cpu = 256, memory = 512, sort_memory = "64MiB", disk_gib = 21 }
}

output "endpoint" {
  description = "Where the load balancer is."
  value       = module.forebay.endpoint
}

output "repositories" {
  description = "Where images are pushed to."
  value       = module.forebay.repositories
}

output "environment" {
  description = "Settings with which the forebay binary finds this installation."
  value       = module.forebay.environment
}
