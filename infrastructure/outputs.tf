output "endpoint" {
  description = "Where the load balancer is; the certificate's name should lead there."
  value       = aws_lb.gateway.dns_name
}

output "endpoint_zone_id" {
  description = "Zone of the load balancer's name, for an alias record."
  value       = aws_lb.gateway.zone_id
}

output "network_id" {
  description = "The network, for a Prometheus or a collector in it; see monitoring_security_group_ids."
  value       = aws_vpc.network.id
}

output "private_subnet_ids" {
  description = "Subnets of the tasks."
  value       = aws_subnet.private[*].id
}

output "load_balancer_arn" {
  description = "For a web ACL of the company's own."
  value       = aws_lb.gateway.arn
}

output "repositories" {
  description = "Where the image of each binary is pushed to."
  value       = { for binary, repository in aws_ecr_repository.image : binary => repository.repository_url }
}

output "bucket" {
  description = "Bucket of the lake."
  value       = aws_s3_bucket.lake.id
}

output "key_arn" {
  description = "KMS key of everything stored: who reads the lake needs kms:Decrypt for it."
  value       = aws_kms_key.data.arn
}

output "athena_workgroup" {
  description = "Workgroup with the saved queries."
  value       = aws_athena_workgroup.lake.name
}

output "environment" {
  description = "Settings with which the forebay binary finds this installation, as for `forebay audit`."
  value       = { for name, value in local.environment : name => value if !contains(["FOREBAY_ADMIN_ADDR", "FOREBAY_LOG_FORMAT"], name) }
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.pipeline.dashboard_name
}
