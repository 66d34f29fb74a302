# What wakes somebody, and what they look at then. Each alarm says what it means for data and what to do.

locals {
  # With fan-out, Kinesis itself no longer knows how old the records are that nobody has asked for.
  lag_metric = var.fan_out ? "SubscribeToShardEvent.MillisBehindLatest" : "GetRecords.IteratorAgeMilliseconds"
  readers = {
    raw   = { service = "dedup-service", variable = "dedup", consumer = "forebay-dedup" }
    clean = { service = "writer-service", variable = "writer", consumer = "forebay-writer" }
  }
  lag = {
    for name, reader in local.readers : name => {
      metric     = local.lag_metric
      dimensions = merge({ StreamName = local.stream_names[name] }, var.fan_out ? { ConsumerName = reader.consumer } : {})
    }
  }
  retention_ms = var.stream_retention_hours * 3600000

  queue_alarms = {
    overflow-in-use = {
      runbook     = "overflow-in-use"
      queue       = aws_sqs_queue.queue["overflow"].name
      metric      = "ApproximateNumberOfMessagesVisible"
      threshold   = 0
      periods     = 5
      description = "Records wait in the overflow queue: the raw stream refuses or answers late. Events are acknowledged and safe for ${var.overflow_retention_hours} hours. Look whether stream ${local.stream_names.raw} throttles (more shards, or wait while an on-demand stream grows), and at AWS's own state. It is over when the queue is empty; nothing has to be put back by hand."
    }
    overflow-old = {
      runbook     = "overflow-in-use"
      queue       = aws_sqs_queue.queue["overflow"].name
      metric      = "ApproximateAgeOfOldestMessage"
      threshold   = var.overflow_retention_hours * 3600 / 2
      periods     = 1
      description = "Acknowledged records have waited in the overflow queue for half of its retention of ${var.overflow_retention_hours} hours, after which SQS throws them away: they would be lost. Make the raw stream take records, or run more gateways, which drain it. If there is no time left, raise overflow_retention_hours and dedup_window_hours together and apply."
    }
    overflow-dead = {
      runbook     = "dead-letters"
      queue       = aws_sqs_queue.dead["overflow"].name
      metric      = "ApproximateNumberOfMessagesVisible"
      threshold   = 0
      periods     = 1
      description = "Messages that no gateway can read are among the overflow's dead letters, for 14 days. They may hold acknowledged events. Look at the gateway's log for the reason; where an older version could not read them, deploy the newer one and redrive the queue within ${var.dedup_window_hours} hours of their sending, so that copies are still recognised."
    }
    tasks-dead = {
      runbook     = "dead-letters"
      queue       = aws_sqs_queue.dead["tasks"].name
      metric      = "ApproximateNumberOfMessagesVisible"
      threshold   = 0
      periods     = 1
      description = "A compaction task failed each time that it was tried. Its rows stay in live objects and are not lost; its day stays unfinished. The message holds the reason. Once that is put right, delete the message: the next night sends the task again."
    }
    tasks-old = {
      runbook     = "compaction-behind"
      queue       = aws_sqs_queue.queue["tasks"].name
      metric      = "ApproximateAgeOfOldestMessage"
      threshold   = 6 * 3600
      periods     = 1
      description = "Compaction is behind: a task has waited for 6 hours. Nothing is lost, final objects are late and live ones cost storage. Look whether workers run, and raise compactor.workers_max."
    }
  }

  # What processes say of themselves, and no metric of AWS shows. `says` is a part of a line of their log.
  log_alarms = {
    ledger-went-back = {
      log_group   = module.audit.log_group_name
      says        = "the ledger is not what it was: stop dedup and writer"
      runbook     = "ledger-restored"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "Chains of table ${aws_dynamodb_table.ledger.name} are gone, end earlier or hold other entries than before: the table was restored from a backup, or items are gone from it. Numbers that were given to events are given away again, and the writer drops the new events in silence. Stop dedup-service and writer-service now. Each look says so again, with the chain and what is wrong."
    }
    conservation-stale = {
      log_group   = module.audit.log_group_name
      says        = "the chains can't be read: trying again"
      runbook     = "conservation-stale"
      threshold   = 5
      period      = 900
      periods     = 1
      description = "The watch over the chains could not read them more than five times within 15 minutes. Nothing follows from that for events, but nobody would notice a missing one."
    }
    hole = {
      log_group   = module.writer_service.log_group_name
      says        = "a hole stays open: forward it again"
      runbook     = "hole"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "A numbered event has not come to the writer for five minutes, though later ones have. It is on its way very late, or was never forwarded."
    }
    events-void = {
      log_group   = module.dedup_service.log_group_name
      says        = "events can't be sent: they are void"
      runbook     = "voided-events"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "Decided events were given up, because the clean stream takes no record of theirs. They will never be in the lake; their ids and the reason are in the chain."
    }
    window-full = {
      log_group   = module.dedup_service.log_group_name
      says        = "the window is full"
      runbook     = "window-too-small"
      threshold   = 0
      period      = 3600
      periods     = 1
      description = "Ids left the dedup window early. Copies that come later count as new events: twice in live/, once in final/ where both are of the same day. Raise dedup.window_ids_max together with dedup.memory."
    }
    raw-retention-not-raised = {
      log_group   = module.dedup_service.log_group_name
      says        = "--raise-retention allows no more: raise it by hand"
      runbook     = "lag-near-retention"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "dedup-service is behind by more than 80 % of what stream ${local.stream_names.raw} keeps, and may not raise that any more. Events are lost when the rest has passed. Raise stream_retention_hours now."
    }
    clean-retention-not-raised = {
      log_group   = module.writer_service.log_group_name
      says        = "--raise-retention allows no more: raise it by hand"
      runbook     = "lag-near-retention"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "writer-service is behind by more than 80 % of what stream ${local.stream_names.clean} keeps, and may not raise that any more. Events are lost when the rest has passed. Raise stream_retention_hours now."
    }
    dedup-leases-lost = {
      log_group   = module.dedup_service.log_group_name
      says        = "the lease is lost: its work stops here"
      runbook     = "lease-thrash"
      threshold   = 10
      period      = 1800
      periods     = 1
      description = "Workers of dedup-service have taken shards from each other more than ten times within half an hour. Events are late, none is lost or doubled."
    }
    writer-leases-lost = {
      log_group   = module.writer_service.log_group_name
      says        = "the lease is lost: its work stops here"
      runbook     = "lease-thrash"
      threshold   = 10
      period      = 1800
      periods     = 1
      description = "Workers of writer-service have taken shards from each other more than ten times within half an hour. Events are late, none is lost or doubled."
    }
    uploads-fail = {
      log_group   = module.writer_service.log_group_name
      says        = "an upload failed: it is tried again until it succeeds"
      runbook     = "uploads-fail"
      threshold   = 20
      period      = 900
      periods     = 1
      description = "The lake has not taken objects for a while. The writer tries again until it does: events are late, none is lost while the clean stream keeps its records."
    }
    dedup-chain-conflicts = {
      log_group   = module.dedup_service.log_group_name
      says        = "holds another owner's entry"
      runbook     = "chain-conflict-storm"
      threshold   = 10
      period      = 600
      periods     = 1
      description = "Owners of the same shards of dedup-service have met in their chains more than ten times within 10 minutes. The chain lets one of them through, so no event is lost or doubled; the work of the other is thrown away, and events are late."
    }
    writer-chain-conflicts = {
      log_group   = module.writer_service.log_group_name
      says        = "holds another owner's entry"
      runbook     = "chain-conflict-storm"
      threshold   = 10
      period      = 600
      periods     = 1
      description = "Owners of the same shards of writer-service have met in their chains more than ten times within 10 minutes. The chain lets one of them through, so no event is lost or doubled; the work of the other is thrown away, and events are late."
    }
    dedup-shard-without-parent = {
      log_group   = module.dedup_service.log_group_name
      says        = "the shard waits for its parent, which the stream no longer lists"
      runbook     = "shard-without-parent"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "Stream ${local.stream_names.raw} no longer lists a shard whose chain has not ended, so nobody owns its children. What they hold waits, and is lost after ${var.stream_retention_hours} hours; a person must decide. The line names the shard and its parent."
    }
    writer-shard-without-parent = {
      log_group   = module.writer_service.log_group_name
      says        = "the shard waits for its parent, which the stream no longer lists"
      runbook     = "shard-without-parent"
      threshold   = 0
      period      = 300
      periods     = 1
      description = "Stream ${local.stream_names.clean} no longer lists a shard whose chain has not ended, so nobody owns its children. What they hold waits, and is lost after ${var.stream_retention_hours} hours; a person must decide. The line names the shard and its parent."
    }
    quarantine-surge = {
      log_group   = module.ingest_gateway.log_group_name
      says        = "a source sends many invalid events"
      runbook     = "quarantine-surge"
      threshold   = 0
      period      = 300
      periods     = 2
      description = "More than one event in twenty of a source has been invalid for 10 minutes. They are durable in quarantine, once each, with the reason, and can be replayed once repaired; until then analysts do not see them. The line names the source, and how many of its events were invalid."
    }
  }

  # What the watch over the chains says at each look: figures, by their names in the line.
  conserved = {
    says    = "the chains were read"
    figures = ["accepted", "duplicates", "in_flight", "live", "missing", "quarantined", "unknown", "void"]
  }

  # Lines that have to come again and again. That one does not is what is wrong, whether its process failed, was killed before
  # it could say anything, hangs, or was never started. A new installation shows the alarm until the first of them.
  expected_lines = {
    conservation-silent = {
      log_group   = module.audit.log_group_name
      says        = local.conserved.says
      runbook     = "conservation-stale"
      period      = 300
      periods     = 3
      description = "Nobody has read the chains for 15 minutes. Nothing follows from that for events, but a missing one would not be noticed. Look at the tasks of ECS service audit and at its log."
    }
    compaction-not-done = {
      log_group = module.compactor.log_group_name
      says      = "past days are planned, swept and trimmed"
      runbook   = "compaction-behind"
      period    = 3600
      # A day, and by how much longer than the last one a night may take.
      periods     = 30
      description = "No nightly compaction has come to its end for 30 hours. Nothing is lost; final objects are late, live ones cost storage, and the next night makes up for it. Look at the last task of schedule ${var.name}-compaction, at the reason why it stopped, and at the log of the compactor; run it by hand as infrastructure/README.md says."
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "lag" {
  for_each = local.readers

  alarm_name          = "${var.name}-${each.key}-behind"
  alarm_description   = "${each.value.service} has been more than 15 minutes behind stream ${local.stream_names[each.key]} for 15 minutes, and more tasks did not help. Events are late, none is lost. Look at the alarms and the log of ${each.value.service}; where it is busy, raise ${each.value.variable}.tasks_max, up to the number of shards, and beyond that the shards. Runbook: deploy/runbooks/freshness-old.md"
  namespace           = "AWS/Kinesis"
  metric_name         = local.lag_metric
  dimensions          = local.lag[each.key].dimensions
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 900000
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "retention" {
  for_each = local.readers

  alarm_name          = "${var.name}-${each.key}-near-retention"
  alarm_description   = "${each.value.service} is behind stream ${local.stream_names[each.key]} by half of its retention of ${var.stream_retention_hours} hours. When the whole of it has passed, records are gone that nobody has read: events are lost. Raise stream_retention_hours now and apply, which takes effect at once and harms nothing; then make ${each.value.service} read. Runbook: deploy/runbooks/lag-near-retention.md"
  namespace           = "AWS/Kinesis"
  metric_name         = local.lag_metric
  dimensions          = local.lag[each.key].dimensions
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = local.retention_ms / 2
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

# No metric at all: nobody reads. An age that nobody measures never rises.
resource "aws_cloudwatch_metric_alarm" "unread" {
  for_each = local.readers

  alarm_name          = "${var.name}-${each.key}-unread"
  alarm_description   = "Nobody has read stream ${local.stream_names[each.key]} for 15 minutes. Events wait there for at most ${var.stream_retention_hours} hours, and are lost after that. Look whether tasks of ${each.value.service} run, whether they halt, and whether their role may read the stream. Runbook: deploy/runbooks/nobody-reads.md"
  namespace           = "AWS/Kinesis"
  metric_name         = local.lag_metric
  dimensions          = local.lag[each.key].dimensions
  statistic           = "SampleCount"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "stream_throttled" {
  for_each = local.readers

  alarm_name          = "${var.name}-${each.key}-throttled"
  alarm_description   = "Stream ${local.stream_names[each.key]} has refused records for 15 minutes because its shards are full. They are sent again, and those of gateways go through the overflow queue, so none is lost; answers and events are late. Provisioned: raise stream_shards. On demand: it doubles by itself within minutes; if it does not, look at the account's quota. Runbook: deploy/runbooks/stream-throttled.md"
  namespace           = "AWS/Kinesis"
  metric_name         = "WriteProvisionedThroughputExceeded"
  dimensions          = { StreamName = local.stream_names[each.key] }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "queue" {
  for_each = local.queue_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: deploy/runbooks/${each.value.runbook}.md"
  namespace           = "AWS/SQS"
  metric_name         = each.value.metric
  dimensions          = { QueueName = each.value.queue }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "ledger_throttled" {
  alarm_name          = "${var.name}-ledger-throttled"
  alarm_description   = "Table ${aws_dynamodb_table.ledger.name} has refused writes for 10 minutes. Dedup and writer wait and repeat, so nothing is lost; events are late. An on-demand table grows by itself within half an hour; if it does not, look at the account's quota of write units, and whether one partition takes it all. Runbook: deploy/runbooks/ledger-throttled.md"
  namespace           = "AWS/DynamoDB"
  metric_name         = "WriteThrottleEvents"
  dimensions          = { TableName = aws_dynamodb_table.ledger.name }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "gateway_refuses" {
  alarm_name          = "${var.name}-gateway-refuses"
  alarm_description   = "Gateways have answered producers with 5xx for 5 minutes. What was refused is not lost for producers that send again. 503: neither the stream nor the overflow queue takes records, look at their alarms. 502 and 504: gateways end or hang, look at their log. Runbook: deploy/runbooks/gateway-not-ready.md"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  dimensions          = { LoadBalancer = aws_lb.gateway.arn_suffix }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "gateway_absent" {
  alarm_name          = "${var.name}-gateway-absent"
  alarm_description   = "No gateway is ready: producers get 503 and must keep their events. Look at the events of ECS service ingest-gateway and at its log; where all say that they can't make events durable, look at Kinesis and SQS. Runbook: deploy/runbooks/gateway-not-ready.md"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.gateway.arn_suffix, TargetGroup = aws_lb_target_group.http.arn_suffix }
  statistic           = "Maximum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "not_planned" {
  alarm_name          = "${var.name}-compaction-not-started"
  alarm_description   = "The nightly compaction could not be started. Nothing is lost; final objects are a day late, and the next night makes up for it. Look at the reason in the events of the cluster, and run it by hand as infrastructure/README.md says. Runbook: deploy/runbooks/compaction-behind.md"
  namespace           = "AWS/Scheduler"
  metric_name         = "TargetErrorCount"
  dimensions          = { ScheduleGroup = aws_scheduler_schedule_group.compaction.name }
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 3600
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

# Kept apart by alarm: one metric of two services would not say which of them it is.
resource "aws_cloudwatch_log_metric_filter" "said" {
  for_each = merge(local.log_alarms, local.expected_lines)

  name           = each.key
  log_group_name = each.value.log_group
  pattern        = "\"${each.value.says}\""

  metric_transformation {
    namespace = var.name
    name      = each.key
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "said" {
  for_each = local.log_alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: deploy/runbooks/${each.value.runbook}.md"
  namespace           = var.name
  metric_name         = aws_cloudwatch_log_metric_filter.said[each.key].metric_transformation[0].name
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

resource "aws_cloudwatch_log_metric_filter" "conserved" {
  for_each = toset(local.conserved.figures)

  name           = "conserved-${each.key}"
  log_group_name = module.audit.log_group_name
  pattern        = "{ $.fields.message = \"${local.conserved.says}\" }"

  metric_transformation {
    namespace = var.name
    name      = "conserved-${each.key}"
    value     = "$.fields.${each.key}"
  }
}

resource "aws_cloudwatch_metric_alarm" "missing_events" {
  alarm_name          = "${var.name}-missing-events"
  alarm_description   = "Acknowledged events are in no object of the lake, though everything behind them has been written for longer than ${var.audit.missing_after}. They are late at best, and lost when the streams no longer keep their records, after ${var.stream_retention_hours} hours. The log of service audit has an error line for each origin, with the first ordinal and how many. Runbook: deploy/runbooks/missing-events.md"
  namespace           = var.name
  metric_name         = aws_cloudwatch_log_metric_filter.conserved["missing"].metric_transformation[0].name
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 1
  # That nobody looked has an alarm of its own.
  treat_missing_data = "ignore"
  alarm_actions      = var.alarm_actions
  ok_actions         = var.alarm_actions
}

resource "aws_cloudwatch_metric_alarm" "silent" {
  for_each = local.expected_lines

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} Runbook: deploy/runbooks/${each.value.runbook}.md"
  namespace           = var.name
  metric_name         = aws_cloudwatch_log_metric_filter.said[each.key].metric_transformation[0].name
  statistic           = "Sum"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_actions
  ok_actions          = var.alarm_actions
}

# The dashboard: in the order in which an event travels.

locals {
  ecs_services = {
    ingest-gateway = module.ingest_gateway.service_name
    dedup-service  = module.dedup_service.service_name
    writer-service = module.writer_service.service_name
    compactor      = module.compactor.service_name
    audit          = module.audit.service_name
  }
  streams_by_name = [for role in ["raw", "clean"] : local.stream_names[role]]

  charts = [
    {
      title   = "Requests, a minute"
      stat    = "Sum"
      metrics = [for metric in ["RequestCount", "HTTPCode_Target_4XX_Count", "HTTPCode_Target_5XX_Count"] : ["AWS/ApplicationELB", metric, "LoadBalancer", aws_lb.gateway.arn_suffix]]
    },
    {
      title   = "Time to acknowledge, p99, s"
      stat    = "p99"
      metrics = [["AWS/ApplicationELB", "TargetResponseTime", "LoadBalancer", aws_lb.gateway.arn_suffix]]
    },
    {
      title   = "Records into streams, a minute"
      stat    = "Sum"
      metrics = [for stream in local.streams_by_name : ["AWS/Kinesis", "IncomingRecords", "StreamName", stream]]
    },
    {
      title   = "Bytes into streams, a minute"
      stat    = "Sum"
      metrics = [for stream in local.streams_by_name : ["AWS/Kinesis", "IncomingBytes", "StreamName", stream]]
    },
    {
      title   = "Age of what is unread, ms"
      stat    = "Maximum"
      metrics = [for lag in values(local.lag) : concat(["AWS/Kinesis", lag.metric], flatten([for name, value in lag.dimensions : [name, value]]))]
    },
    {
      title   = "Records refused by full shards"
      stat    = "Sum"
      metrics = [for stream in local.streams_by_name : ["AWS/Kinesis", "WriteProvisionedThroughputExceeded", "StreamName", stream]]
    },
    {
      title   = "Write units of the ledger, a minute"
      stat    = "Sum"
      metrics = [["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", aws_dynamodb_table.ledger.name], ["AWS/DynamoDB", "WriteThrottleEvents", "TableName", aws_dynamodb_table.ledger.name]]
    },
    {
      title   = "Messages that wait"
      stat    = "Maximum"
      metrics = [for queue in concat(values(aws_sqs_queue.queue)[*].name, values(aws_sqs_queue.dead)[*].name) : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", queue]]
    },
    {
      title   = "Processors, %"
      stat    = "Average"
      metrics = [for service in values(local.ecs_services) : ["AWS/ECS", "CPUUtilization", "ClusterName", aws_ecs_cluster.cluster.name, "ServiceName", service]]
    },
    {
      title   = "Memory, %"
      stat    = "Maximum"
      metrics = [for service in values(local.ecs_services) : ["AWS/ECS", "MemoryUtilization", "ClusterName", aws_ecs_cluster.cluster.name, "ServiceName", service]]
    },
    {
      title   = "Tasks"
      stat    = "Average"
      metrics = [for service in values(local.ecs_services) : ["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", aws_ecs_cluster.cluster.name, "ServiceName", service]]
    },
    {
      title   = "Processes that ended with an error"
      stat    = "Sum"
      metrics = [for service in keys(local.ecs_services) : [var.name, "${service}-failures"]]
    },
    {
      title   = "Events that the chains know"
      stat    = "Maximum"
      metrics = [for figure in ["accepted", "live", "duplicates", "quarantined", "void"] : [var.name, "conserved-${figure}"]]
    },
    {
      title   = "Events on their way"
      stat    = "Maximum"
      metrics = [[var.name, "conserved-in_flight"]]
    },
    {
      title   = "Missing events: must be 0"
      stat    = "Maximum"
      metrics = [[var.name, "conserved-missing"], [var.name, "conserved-unknown"]]
    },
  ]
}

resource "aws_cloudwatch_dashboard" "pipeline" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [
      for place, chart in local.charts : {
        type   = "metric"
        x      = place % 3 * 8
        y      = floor(place / 3) * 6
        width  = 8
        height = 6
        properties = {
          title   = chart.title
          stat    = chart.stat
          metrics = chart.metrics
          region  = local.region
          period  = 60
          view    = "timeSeries"
        }
      }
    ]
  })
}
