# 300 events a second: what the defaults are made for.

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

  # 26 million ids a day take about 900 MB, wherever the shards are.
  gateway   = { tasks_min = 2, tasks_max = 8, cpu = 512, memory = 1024, requests_each_minute = 60000 }
  dedup     = { tasks_min = 2, tasks_max = 4, cpu = 512, memory = 3072, window_ids_max = 40000000 }
  writer    = { tasks_min = 2, tasks_max = 4, cpu = 512, memory = 1024, row_memory = "112MiB" }
  compactor = { workers_max = 2, cpu = 1024, memory = 2048, sort_memory = "512MiB", disk_gib = 50 }
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
