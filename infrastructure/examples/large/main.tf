# A thousand times the base rate: 300,000 events a second.
#
# Shards from `forebay cost --rate 300k/s --record-level 1`, which names how many carry it, and a quarter more, since hashes
# of ids do not fall evenly into shards and reading must catch up after a pause. The account's quotas come first: shards of
# a region, Fargate processors and bandwidth of interface endpoints are all far below this by default.

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

  zones                 = ["${var.region}a", "${var.region}b", "${var.region}c"]
  image_tag             = var.image_tag
  certificate_arn       = var.certificate_arn
  write_keys_secret_arn = var.write_keys_secret_arn
  alarm_actions         = var.alarm_actions

  stream_shards = { raw = 560, clean = 560 }

  # 26 billion ids a day at about 34 bytes: 880 GB in memory, over at least 40 tasks, with room for the loss of a zone.
  gateway   = { tasks_min = 24, tasks_max = 96, cpu = 4096, memory = 8192, requests_each_minute = 120000 }
  dedup     = { tasks_min = 60, tasks_max = 120, cpu = 4096, memory = 30720, window_ids_max = 700000000 }
  writer    = { tasks_min = 60, tasks_max = 140, cpu = 4096, memory = 8192, row_memory = "4GiB" }
  compactor = { workers_max = 48, cpu = 4096, memory = 16384, sort_memory = "8GiB", disk_gib = 200 }
  audit     = { every = "1m", missing_after = "10m", cpu = 1024, memory = 2048 }
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
