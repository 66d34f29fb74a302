# The nightly compaction, ten minutes after a day is over in UTC: one task plans the days that are over, sends workers their
# tasks, and removes what is over. Running it twice, or late, does no harm.

resource "aws_scheduler_schedule_group" "compaction" {
  name = var.name
  tags = var.tags
}

resource "aws_scheduler_schedule" "compaction" {
  # checkov:skip=CKV_AWS_297:All that it stores is the word «plan», under a key of AWS.
  name                         = "${var.name}-compaction"
  description                  = "Plans the compaction of days that are over"
  group_name                   = aws_scheduler_schedule_group.compaction.name
  schedule_expression          = "cron(10 0 * * ? *)"
  schedule_expression_timezone = "UTC"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_ecs_cluster.cluster.arn
    role_arn = aws_iam_role.scheduler.arn

    input = jsonencode({
      containerOverrides = [{ name = "compactor", command = ["plan"] }]
    })

    ecs_parameters {
      task_definition_arn = module.compactor.task_definition_arn
      launch_type         = "FARGATE"
      platform_version    = "LATEST"

      network_configuration {
        subnets          = aws_subnet.private[*].id
        security_groups  = [aws_security_group.task["compactor"].id]
        assign_public_ip = false
      }
    }

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 10
    }
  }
}
