# Overflow: acknowledged records that the raw stream refuses for the moment. Tasks: hints to compaction workers.
#
# Gateways hold a message for as long as the stream refuses its record, so a long outage takes few receives, and only
# what no gateway can read comes to the overflow's dead letters. A compaction worker gives a task up by itself, with the
# reason, before SQS does; it does not start where SQS would be first.

locals {
  queues = {
    overflow = { retention_seconds = var.overflow_retention_hours * 3600, receives_max = 100 }
    tasks    = { retention_seconds = 4 * 86400, receives_max = 10 }
  }
}

resource "aws_sqs_queue" "queue" {
  for_each = local.queues

  name                       = "${var.name}-${each.key}"
  message_retention_seconds  = each.value.retention_seconds
  max_message_size           = 1048576
  visibility_timeout_seconds = 60
  receive_wait_time_seconds  = 20
  kms_master_key_id          = aws_kms_key.data.arn
  tags                       = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead[each.key].arn
    maxReceiveCount     = each.value.receives_max
  })
}

# As long as SQS keeps anything: these wait for a person.
resource "aws_sqs_queue" "dead" {
  for_each = local.queues

  name                      = "${var.name}-${each.key}-dead"
  message_retention_seconds = 14 * 86400
  max_message_size          = 1048576
  kms_master_key_id         = aws_kms_key.data.arn
  tags                      = var.tags
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  for_each = local.queues

  queue_url = aws_sqs_queue.dead[each.key].id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.queue[each.key].arn]
  })
}

# Only over TLS, on all four.
data "aws_iam_policy_document" "queue_tls" {
  for_each = merge(
    { for name, queue in aws_sqs_queue.queue : name => queue.arn },
    { for name, queue in aws_sqs_queue.dead : "${name}-dead" => queue.arn },
  )

  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "queue" {
  for_each = local.queues

  queue_url = aws_sqs_queue.queue[each.key].id
  policy    = data.aws_iam_policy_document.queue_tls[each.key].json
}

resource "aws_sqs_queue_policy" "dead" {
  for_each = local.queues

  queue_url = aws_sqs_queue.dead[each.key].id
  policy    = data.aws_iam_policy_document.queue_tls["${each.key}-dead"].json
}
