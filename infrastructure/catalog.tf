# How SQL finds the lake: tables over live/ and final/, whose partitions are computed from the date and never crawled.
#
# Each of live_* and final_* shows every row once. For a day or so after a compaction a row is in both.

locals {
  event_columns = [
    { name = "event_id", type = "string" },
    { name = "event_name", type = "string" },
    { name = "event_type", type = "string" },
    { name = "event_subtype", type = "string" },
    { name = "created_at", type = "timestamp" },
    { name = "received_at", type = "timestamp" },
    { name = "source", type = "string" },
    { name = "user_id", type = "string" },
    { name = "session_id", type = "string" },
    { name = "properties", type = "string" },
    { name = "origin", type = "string" },
    { name = "ordinal", type = "bigint" },
  ]
  quarantine_columns = [
    { name = "quarantine_id", type = "string" },
    { name = "event_id", type = "string" },
    { name = "reason", type = "string" },
    { name = "field", type = "string" },
    { name = "value", type = "string" },
    { name = "message", type = "string" },
    { name = "stage", type = "string" },
    { name = "source", type = "string" },
    { name = "received_at", type = "timestamp" },
    { name = "original", type = "binary" },
    { name = "origin", type = "string" },
    { name = "ordinal", type = "bigint" },
  ]
  lake_tables = {
    live_events        = { path = "live/events", columns = local.event_columns }
    final_events       = { path = "final/events", columns = local.event_columns }
    live_quarantine    = { path = "live/quarantine", columns = local.quarantine_columns }
    final_quarantine   = { path = "final/quarantine", columns = local.quarantine_columns }
    dropped_events     = { path = "dropped/events", columns = local.event_columns }
    dropped_quarantine = { path = "dropped/quarantine", columns = local.quarantine_columns }
  }
}

resource "aws_glue_catalog_database" "lake" {
  name        = replace(var.name, "-", "_")
  description = "Events and quarantine, live and final"
  tags        = var.tags
}

resource "aws_glue_catalog_table" "lake" {
  for_each = local.lake_tables

  name          = each.key
  database_name = aws_glue_catalog_database.lake.name
  table_type    = "EXTERNAL_TABLE"

  # The folders of event types below a day are read as a whole: the type is a column of the objects as well.
  parameters = {
    classification                 = "parquet"
    EXTERNAL                       = "TRUE"
    "projection.enabled"           = "true"
    "projection.event_date.type"   = "date"
    "projection.event_date.format" = "yyyy-MM-dd"
    # Events may be dated back to 2000, and some minutes into the future.
    "projection.event_date.range" = "2000-01-01,NOW+1DAYS"
    "storage.location.template"   = "s3://${aws_s3_bucket.lake.id}/${each.value.path}/event_date=$${event_date}/"
  }

  partition_keys {
    name = "event_date"
    type = "string"
  }

  storage_descriptor {
    location      = "s3://${aws_s3_bucket.lake.id}/${each.value.path}/"
    input_format  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output_format = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"

    ser_de_info {
      serialization_library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    }

    dynamic "columns" {
      for_each = each.value.columns

      content {
        name = columns.value.name
        type = columns.value.type
      }
    }
  }
}

resource "aws_athena_workgroup" "lake" {
  name          = var.name
  description   = "Queries of the lake; results are encrypted and go after a week"
  force_destroy = !var.deletion_protection
  tags          = var.tags

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = 1099511627776

    result_configuration {
      output_location       = "s3://${aws_s3_bucket.athena.id}/results/"
      expected_bucket_owner = local.account

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = aws_kms_key.data.arn
      }
    }
  }
}

# Shows nothing where nothing is missing. A row that is live and final at the same time counts once, and so does one that
# a plan dropped because its id was there already.
resource "aws_athena_named_query" "proof" {
  name        = "proof"
  description = "Origins whose ordinals have a gap: no rows means that nothing is missing. Newest ordinals may still be on their way"
  workgroup   = aws_athena_workgroup.lake.id
  database    = aws_glue_catalog_database.lake.name
  query       = <<-SQL
    WITH rows AS (
      SELECT origin, ordinal FROM live_events
      UNION ALL SELECT origin, ordinal FROM final_events
      UNION ALL SELECT origin, ordinal FROM dropped_events
      UNION ALL SELECT origin, ordinal FROM live_quarantine
      UNION ALL SELECT origin, ordinal FROM final_quarantine
      UNION ALL SELECT origin, ordinal FROM dropped_quarantine
    )
    SELECT origin, count(DISTINCT ordinal) AS present, max(ordinal) + 1 AS numbered
    FROM rows
    GROUP BY origin
    HAVING count(DISTINCT ordinal) <> max(ordinal) + 1
  SQL
}

# Shows nothing where no row is twice in what the compactor made.
resource "aws_athena_named_query" "duplicates" {
  name        = "duplicates"
  description = "Rows that are twice in final objects, or twice in live ones: no rows means that each is there once"
  workgroup   = aws_athena_workgroup.lake.id
  database    = aws_glue_catalog_database.lake.name
  query       = <<-SQL
    SELECT 'final' AS place, origin, ordinal, count(*) AS copies FROM final_events GROUP BY origin, ordinal HAVING count(*) > 1
    UNION ALL
    SELECT 'live' AS place, origin, ordinal, count(*) AS copies FROM live_events GROUP BY origin, ordinal HAVING count(*) > 1
  SQL
}

resource "aws_s3_bucket" "athena" {
  # checkov:skip=CKV_AWS_144:Results of queries can be computed again.
  # checkov:skip=CKV_AWS_21:Results of queries go after a week; there is no use in their versions.
  # checkov:skip=CKV2_AWS_62:Nothing waits for results of queries.
  bucket        = "${var.name}-athena-${local.account}-${local.region}"
  force_destroy = !var.deletion_protection
  tags          = var.tags
}

resource "aws_s3_bucket_server_side_encryption_configuration" "athena" {
  bucket = aws_s3_bucket.athena.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.data.arn
    }
  }
}

resource "aws_s3_bucket_policy" "athena" {
  bucket     = aws_s3_bucket.athena.id
  policy     = data.aws_iam_policy_document.only_over_tls["athena"].json
  depends_on = [aws_s3_bucket_public_access_block.all]
}

resource "aws_s3_bucket_logging" "athena" {
  bucket        = aws_s3_bucket.athena.id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "s3/"
}

resource "aws_s3_bucket_lifecycle_configuration" "athena" {
  bucket = aws_s3_bucket.athena.id

  rule {
    id     = "end-of-results"
    status = "Enabled"

    filter {}

    expiration {
      days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}
