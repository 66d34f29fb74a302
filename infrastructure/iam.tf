# Who may do what: one role a service, with the calls that its code makes. checks/permissions.py compares the two.

resource "aws_kms_key" "data" {
  description             = "Everything that ${var.name} stores"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "data" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.data.key_id
}

data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:In a key's own policy "*" is this key, and without the account in it nobody could ever change it.
  # checkov:skip=CKV_AWS_111:As above.
  # checkov:skip=CKV_AWS_356:As above.
  statement {
    sid       = "RolesOfTheAccountAsTheirPoliciesSay"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${local.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/${var.name}/*"]
    }
  }
}

locals {
  lake_objects = "${aws_s3_bucket.lake.arn}/"
  service_policies = {
    ingest-gateway = data.aws_iam_policy_document.ingest_gateway.json
    dedup-service  = data.aws_iam_policy_document.dedup_service.json
    writer-service = data.aws_iam_policy_document.writer_service.json
    compactor      = data.aws_iam_policy_document.compactor.json
    audit          = data.aws_iam_policy_document.audit.json
  }
}

# Appends to the raw stream, and takes the detour through the overflow queue. Sees neither ledger nor lake, and reads no
# stream.
data "aws_iam_policy_document" "ingest_gateway" {
  statement {
    sid       = "RawStream"
    actions   = ["kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:PutRecords"]
    resources = local.stream_arns.raw
  }

  statement {
    sid = "OverflowQueue"
    actions = [
      "sqs:ChangeMessageVisibility",
      "sqs:DeleteMessage",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ReceiveMessage",
      "sqs:SendMessage",
    ]
    resources = [aws_sqs_queue.queue["overflow"].arn]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["kinesis.${local.region}.amazonaws.com", "sqs.${local.region}.amazonaws.com"]
    }
  }
}

# Reads the raw stream, decides in the ledger, appends to the clean stream; strays go back into the raw one.
data "aws_iam_policy_document" "dedup_service" {
  statement {
    sid = "RawStream"
    actions = [
      "kinesis:DescribeStreamSummary",
      "kinesis:GetRecords",
      "kinesis:GetShardIterator",
      "kinesis:IncreaseStreamRetentionPeriod",
      "kinesis:ListShards",
      "kinesis:PutRecords",
    ]
    resources = local.stream_arns.raw
  }

  dynamic "statement" {
    for_each = var.fan_out ? [1] : []

    content {
      sid       = "FanOut"
      actions   = ["kinesis:DescribeStreamConsumer", "kinesis:RegisterStreamConsumer"]
      resources = local.stream_arns.raw
    }
  }

  dynamic "statement" {
    for_each = var.fan_out ? [1] : []

    content {
      sid       = "FanOutConsumers"
      actions   = ["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"]
      resources = [for arn in local.stream_arns.raw : "${arn}/consumer/forebay-dedup:*"]
    }
  }

  statement {
    sid       = "CleanStream"
    actions   = ["kinesis:DescribeStreamSummary", "kinesis:PutRecords"]
    resources = local.stream_arns.clean
  }

  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Query"]
    resources = [aws_dynamodb_table.ledger.arn]
  }

  # Entries, the list of chains and leases: new ones, and the changes that their conditions allow. Nothing of another stage's.
  statement {
    sid       = "LedgerEntries"
    actions   = ["dynamodb:PutItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["chain/dedup/*", "chain/raw/*", "chain/void/*", "chains", "leases"]
    }
  }

  # Old entries go in batches, and of no other chains: a head that is deleted gives ordinals out twice.
  statement {
    sid       = "LedgerTrim"
    actions   = ["dynamodb:BatchWriteItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["chain/dedup/*"]
    }
  }

  # Single items are deleted among the leases alone: that of a shard that has ended, or of a worker that is gone.
  statement {
    sid       = "Leases"
    actions   = ["dynamodb:DeleteItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["leases"]
    }
  }

  # How long copies may wait there decides how long decisions are kept.
  statement {
    sid       = "OverflowQueue"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.queue["overflow"].arn]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${local.region}.amazonaws.com", "kinesis.${local.region}.amazonaws.com"]
    }
  }
}

# Reads the clean stream, announces in the ledger, creates objects under live/. Deletes none of them, and no entry of the
# ledger: the compactor trims what writers announced.
data "aws_iam_policy_document" "writer_service" {
  statement {
    sid = "CleanStream"
    actions = [
      "kinesis:DescribeStreamSummary",
      "kinesis:GetRecords",
      "kinesis:GetShardIterator",
      "kinesis:IncreaseStreamRetentionPeriod",
      "kinesis:ListShards",
    ]
    resources = local.stream_arns.clean
  }

  dynamic "statement" {
    for_each = var.fan_out ? [1] : []

    content {
      sid       = "FanOut"
      actions   = ["kinesis:DescribeStreamConsumer", "kinesis:RegisterStreamConsumer"]
      resources = local.stream_arns.clean
    }
  }

  dynamic "statement" {
    for_each = var.fan_out ? [1] : []

    content {
      sid       = "FanOutConsumers"
      actions   = ["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"]
      resources = [for arn in local.stream_arns.clean : "${arn}/consumer/forebay-writer:*"]
    }
  }

  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Query"]
    resources = [aws_dynamodb_table.ledger.arn]
  }

  # Entries, the list of chains and leases: new ones, and the changes that their conditions allow. Nothing of another stage's.
  statement {
    sid       = "LedgerEntries"
    actions   = ["dynamodb:PutItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["chain/clean/*", "chain/writer/*", "chains", "leases"]
    }
  }

  # Single items are deleted among the leases alone: that of a shard that has ended, or of a worker that is gone.
  statement {
    sid       = "Leases"
    actions   = ["dynamodb:DeleteItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["leases"]
    }
  }

  # Without any prefix: who may not list is told «access denied» where an object is absent.
  statement {
    sid       = "Lake"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.lake.arn]
  }

  statement {
    sid       = "LiveObjects"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = ["${local.lake_objects}live/*"]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values = [
        "dynamodb.${local.region}.amazonaws.com",
        "kinesis.${local.region}.amazonaws.com",
        "s3.${local.region}.amazonaws.com",
      ]
    }
  }
}

# Plans in the ledger, reads the lake, creates under final/ and dropped/, and deletes: under live/ and nowhere else.
data "aws_iam_policy_document" "compactor" {
  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Query"]
    resources = [aws_dynamodb_table.ledger.arn]
  }

  # Entries, the list of chains: new ones, and the changes that their conditions allow. Nothing of another stage's.
  statement {
    sid       = "LedgerEntries"
    actions   = ["dynamodb:PutItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["chain/plan/*", "chains"]
    }
  }

  # Old entries go in batches, and of no other chains: a head that is deleted gives ordinals out twice.
  statement {
    sid       = "LedgerTrim"
    actions   = ["dynamodb:BatchWriteItem"]
    resources = [aws_dynamodb_table.ledger.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["chain/writer/*"]
    }
  }

  statement {
    sid       = "Lake"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.lake.arn]
  }

  statement {
    sid       = "LiveObjects"
    actions   = ["s3:DeleteObject", "s3:GetObject"]
    resources = ["${local.lake_objects}live/*"]
  }

  statement {
    sid       = "FinalObjects"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = ["${local.lake_objects}dropped/*", "${local.lake_objects}final/*"]
  }

  statement {
    sid = "TaskQueue"
    actions = [
      "sqs:ChangeMessageVisibility",
      "sqs:DeleteMessage",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ReceiveMessage",
      "sqs:SendMessage",
    ]
    resources = [aws_sqs_queue.queue["tasks"].arn]
  }

  statement {
    sid       = "DeadTasks"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"]
    resources = [aws_sqs_queue.dead["tasks"].arn]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values = [
        "dynamodb.${local.region}.amazonaws.com",
        "s3.${local.region}.amazonaws.com",
        "sqs.${local.region}.amazonaws.com",
      ]
    }
  }
}

# Reads the ledger, and what writers have still to read of the clean stream. Writes nothing, and sees no object: of the lake,
# the raw stream and the queue it asks only whether they are there.
data "aws_iam_policy_document" "audit" {
  statement {
    sid       = "RawStream"
    actions   = ["kinesis:DescribeStreamSummary"]
    resources = local.stream_arns.raw
  }

  statement {
    sid = "CleanStream"
    actions = [
      "kinesis:DescribeStreamSummary",
      "kinesis:GetRecords",
      "kinesis:GetShardIterator",
      "kinesis:ListShards",
    ]
    resources = local.stream_arns.clean
  }

  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Query"]
    resources = [aws_dynamodb_table.ledger.arn]
  }

  statement {
    sid       = "Lake"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.lake.arn]
  }

  statement {
    sid       = "OverflowQueue"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.queue["overflow"].arn]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:DescribeKey"]
    resources = [aws_kms_key.data.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${local.region}.amazonaws.com", "kinesis.${local.region}.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "assumed_by_tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

# What a service's code is allowed.
resource "aws_iam_role" "service" {
  for_each = local.service_policies

  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_tasks.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "service" {
  for_each = local.service_policies

  name   = "calls"
  role   = aws_iam_role.service[each.key].id
  policy = each.value
}

# What ECS is allowed in order to start a service: its image, its log group, its secret.
data "aws_iam_policy_document" "start" {
  for_each = local.service_policies

  statement {
    # checkov:skip=CKV_AWS_356:GetAuthorizationToken knows no resource.
    sid       = "Registry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [aws_ecr_repository.image[local.images[each.key]].arn]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/${var.name}/${each.key}:*"]
  }

  dynamic "statement" {
    for_each = each.key == "ingest-gateway" && var.write_keys_secret_arn != null ? [1] : []

    content {
      sid       = "WriteKeys"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [var.write_keys_secret_arn]
    }
  }
}

resource "aws_iam_role" "start" {
  for_each = local.service_policies

  name               = "${var.name}-${each.key}-start"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_tasks.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "start" {
  for_each = local.service_policies

  name   = "start"
  role   = aws_iam_role.start[each.key].id
  policy = data.aws_iam_policy_document.start[each.key].json
}

# Writes which connections the network refused.
data "aws_iam_policy_document" "assumed_by_flow_logs" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

data "aws_iam_policy_document" "flows" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.flows.arn}:*"]
  }
}

resource "aws_iam_role" "flows" {
  name               = "${var.name}-flow-logs"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_flow_logs.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "flows" {
  name   = "write"
  role   = aws_iam_role.flows.id
  policy = data.aws_iam_policy_document.flows.json
}

# Starts the nightly compaction.
data "aws_iam_policy_document" "assumed_by_scheduler" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid       = "Start"
    actions   = ["ecs:RunTask"]
    resources = ["${module.compactor.task_definition_family_arn}:*"]

    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.cluster.arn]
    }
  }

  statement {
    sid       = "HandOverItsRoles"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.service["compactor"].arn, aws_iam_role.start["compactor"].arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name               = "${var.name}-scheduler"
  assume_role_policy = data.aws_iam_policy_document.assumed_by_scheduler.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "scheduler" {
  name   = "start"
  role   = aws_iam_role.scheduler.id
  policy = data.aws_iam_policy_document.scheduler.json
}
