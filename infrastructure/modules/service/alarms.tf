# Alarms that every service has. Logs are JSON, and what ends a process is one line of plain text with its binary's name.

resource "aws_cloudwatch_log_metric_filter" "halt" {
  name           = "halt"
  log_group_name = aws_cloudwatch_log_group.service.name
  pattern        = "\"${local.binary}: \" \"halt: \""

  metric_transformation {
    namespace = var.common.namespace
    name      = "${var.name}-halts"
    value     = "1"
  }
}

resource "aws_cloudwatch_log_metric_filter" "failure" {
  name           = "failure"
  log_group_name = aws_cloudwatch_log_group.service.name
  pattern        = "\"${local.binary}: \""

  metric_transformation {
    namespace = var.common.namespace
    name      = "${var.name}-failures"
    value     = "1"
  }
}

locals {
  utilisation = {
    cpu    = { metric = "CPUUtilization", runbook = "bound-near-limit", what = "processors", advice = "Raise cpu or tasks_max of it." }
    memory = { metric = "MemoryUtilization", runbook = "memory-near-limit", what = "memory", advice = "At 100 % its tasks are killed, which costs time and no data. Raise memory of it, or lower the bound that it has for its own memory." }
  }
}

resource "aws_cloudwatch_metric_alarm" "halt" {
  alarm_name          = "${var.common.namespace}-${var.name}-halt"
  alarm_description   = "${var.name} ended itself, because going on could lose or double events. Nothing is lost while the streams keep their records. Do not delete anything. Look in log group /${var.common.namespace}/${var.name} for the line with «halt:»: it names the chain, the entry, what differs, and what to do. It halts again with every start until that is done. Runbook: deploy/runbooks/halt.md"
  namespace           = var.common.namespace
  metric_name         = aws_cloudwatch_log_metric_filter.halt.metric_transformation[0].name
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.common.alarm_actions
  ok_actions          = var.common.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "failure" {
  alarm_name          = "${var.common.namespace}-${var.name}-failures"
  alarm_description   = "Processes of ${var.name} ended with an error three times within 15 minutes. ECS starts them again, and they go on where the chains say. Look in log group /${var.common.namespace}/${var.name} for lines that begin with «${local.binary}:». Exit code 2 is a setting that is refused (roll the last change back), 3 is something in AWS that does not answer (look at its own alarms), 4 is a halt, which has its own alarm. Runbook: deploy/runbooks/process-down.md"
  namespace           = var.common.namespace
  metric_name         = aws_cloudwatch_log_metric_filter.failure.metric_transformation[0].name
  statistic           = "Sum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 3
  period              = 900
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.common.alarm_actions
  ok_actions          = var.common.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "utilisation" {
  for_each = local.utilisation

  alarm_name          = "${var.common.namespace}-${var.name}-${each.key}"
  alarm_description   = "${var.name} has used more than 90 % of its ${each.value.what} for 15 minutes. ${each.value.advice} Runbook: deploy/runbooks/${each.value.runbook}.md"
  namespace           = "AWS/ECS"
  metric_name         = each.value.metric
  dimensions          = { ClusterName = var.common.cluster_name, ServiceName = aws_ecs_service.service.name }
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 90
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.common.alarm_actions
  ok_actions          = var.common.alarm_actions
}

# Tasks that should run and don't, as where an image can't be pulled or a deployment goes back and forth.
resource "aws_cloudwatch_metric_alarm" "missing_tasks" {
  count = var.tasks_min > 0 ? 1 : 0

  alarm_name          = "${var.common.namespace}-${var.name}-missing-tasks"
  alarm_description   = "Fewer tasks of ${var.name} have run for 10 minutes than the ${var.tasks_min} that there should be at least. Look at the events of ECS service ${var.name} in cluster ${var.common.cluster_name}, and at the reason why its last tasks stopped. Runbook: deploy/runbooks/process-down.md"
  namespace           = "ECS/ContainerInsights"
  metric_name         = "RunningTaskCount"
  dimensions          = { ClusterName = var.common.cluster_name, ServiceName = aws_ecs_service.service.name }
  statistic           = "Minimum"
  comparison_operator = "LessThanThreshold"
  threshold           = var.tasks_min
  period              = 60
  evaluation_periods  = 10
  treat_missing_data  = "breaching"
  alarm_actions       = var.common.alarm_actions
  ok_actions          = var.common.alarm_actions
}
