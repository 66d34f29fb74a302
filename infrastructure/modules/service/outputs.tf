output "service_name" {
  description = "Name of the ECS service."
  value       = aws_ecs_service.service.name
}

output "task_definition_arn" {
  description = "ARN of the task definition, with its revision."
  value       = aws_ecs_task_definition.service.arn
}

output "task_definition_family_arn" {
  description = "ARN of the task definition, without a revision."
  value       = aws_ecs_task_definition.service.arn_without_revision
}

output "log_group_name" {
  description = "Name of the log group."
  value       = aws_cloudwatch_log_group.service.name
}
