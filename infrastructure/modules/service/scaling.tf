resource "aws_appautoscaling_target" "tasks" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${var.common.cluster_name}/${aws_ecs_service.service.name}"
  min_capacity       = var.tasks_min
  max_capacity       = var.tasks_max
}

resource "aws_appautoscaling_policy" "cpu" {
  count = var.scale_on_cpu_percent == null ? 0 : 1

  name               = "cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.tasks.service_namespace
  scalable_dimension = aws_appautoscaling_target.tasks.scalable_dimension
  resource_id        = aws_appautoscaling_target.tasks.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.scale_on_cpu_percent
    scale_in_cooldown  = 300
    scale_out_cooldown = 30

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

resource "aws_appautoscaling_policy" "requests" {
  count = var.scale_on_requests == null ? 0 : 1

  name               = "requests"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.tasks.service_namespace
  scalable_dimension = aws_appautoscaling_target.tasks.scalable_dimension
  resource_id        = aws_appautoscaling_target.tasks.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.scale_on_requests.each_minute
    scale_in_cooldown  = 300
    scale_out_cooldown = 30

    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = var.scale_on_requests.resource_label
    }
  }
}

# Lag says that there are too few, and never by how many: half as many again, and slowly back. Workers share the shards
# anew each time, which costs them seconds, so nothing is done about lag of less than two minutes.
resource "aws_appautoscaling_policy" "more_for_lag" {
  count = var.scale_on_lag_of == null ? 0 : 1

  name               = "more-for-lag"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.tasks.service_namespace
  scalable_dimension = aws_appautoscaling_target.tasks.scalable_dimension
  resource_id        = aws_appautoscaling_target.tasks.resource_id

  step_scaling_policy_configuration {
    adjustment_type          = "PercentChangeInCapacity"
    min_adjustment_magnitude = 1
    cooldown                 = 180
    metric_aggregation_type  = "Maximum"

    step_adjustment {
      metric_interval_lower_bound = 0
      scaling_adjustment          = 50
    }
  }
}

resource "aws_appautoscaling_policy" "fewer_without_lag" {
  count = var.scale_on_lag_of == null ? 0 : 1

  name               = "fewer-without-lag"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.tasks.service_namespace
  scalable_dimension = aws_appautoscaling_target.tasks.scalable_dimension
  resource_id        = aws_appautoscaling_target.tasks.resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = 900
    metric_aggregation_type = "Maximum"

    step_adjustment {
      metric_interval_upper_bound = 0
      scaling_adjustment          = -1
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "behind" {
  count = var.scale_on_lag_of == null ? 0 : 1

  alarm_name          = "${var.common.namespace}-${var.name}-scale-out"
  alarm_description   = "Adds tasks to ${var.name}. Nothing to do."
  namespace           = "AWS/Kinesis"
  metric_name         = var.scale_on_lag_of.metric
  dimensions          = var.scale_on_lag_of.dimensions
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 120000
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.more_for_lag[0].arn]
}

resource "aws_cloudwatch_metric_alarm" "abreast" {
  count = var.scale_on_lag_of == null ? 0 : 1

  alarm_name          = "${var.common.namespace}-${var.name}-scale-in"
  alarm_description   = "Takes a task of ${var.name} away. Nothing to do."
  namespace           = "AWS/Kinesis"
  metric_name         = var.scale_on_lag_of.metric
  dimensions          = var.scale_on_lag_of.dimensions
  statistic           = "Maximum"
  comparison_operator = "LessThanThreshold"
  threshold           = 15000
  period              = 60
  evaluation_periods  = 30
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.fewer_without_lag[0].arn]
}

# From nobody to somebody and back, by what waits and what is in somebody's hands.
locals {
  queue_metrics = var.scale_on_queue == null ? {} : {
    waiting = "ApproximateNumberOfMessagesVisible"
    held    = "ApproximateNumberOfMessagesNotVisible"
  }
}

resource "aws_appautoscaling_policy" "more_for_queue" {
  count = var.scale_on_queue == null ? 0 : 1

  name               = "more-for-queue"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.tasks.service_namespace
  scalable_dimension = aws_appautoscaling_target.tasks.scalable_dimension
  resource_id        = aws_appautoscaling_target.tasks.resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = 180
    metric_aggregation_type = "Maximum"

    step_adjustment {
      metric_interval_lower_bound = 0
      metric_interval_upper_bound = 10
      scaling_adjustment          = 1
    }

    step_adjustment {
      metric_interval_lower_bound = 10
      metric_interval_upper_bound = 100
      scaling_adjustment          = 4
    }

    step_adjustment {
      metric_interval_lower_bound = 100
      scaling_adjustment          = 16
    }
  }
}

resource "aws_appautoscaling_policy" "none_for_empty_queue" {
  count = var.scale_on_queue == null ? 0 : 1

  name               = "none-for-empty-queue"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.tasks.service_namespace
  scalable_dimension = aws_appautoscaling_target.tasks.scalable_dimension
  resource_id        = aws_appautoscaling_target.tasks.resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ExactCapacity"
    cooldown                = 60
    metric_aggregation_type = "Maximum"

    step_adjustment {
      metric_interval_upper_bound = 0
      scaling_adjustment          = 0
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "queue_waits" {
  count = var.scale_on_queue == null ? 0 : 1

  alarm_name          = "${var.common.namespace}-${var.name}-scale-out"
  alarm_description   = "Adds tasks to ${var.name}. Nothing to do."
  namespace           = "AWS/SQS"
  metric_name         = local.queue_metrics.waiting
  dimensions          = { QueueName = var.scale_on_queue }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.more_for_queue[0].arn]
}

resource "aws_cloudwatch_metric_alarm" "queue_is_empty" {
  count = var.scale_on_queue == null ? 0 : 1

  alarm_name          = "${var.common.namespace}-${var.name}-scale-in"
  alarm_description   = "Ends all tasks of ${var.name}. Nothing to do."
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  evaluation_periods  = 15
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.none_for_empty_queue[0].arn]

  metric_query {
    id          = "all"
    expression  = "waiting + held"
    label       = "Messages"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.queue_metrics

    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = var.scale_on_queue }
        stat        = "Maximum"
        period      = 60
      }
    }
  }
}
