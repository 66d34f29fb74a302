# Raw: what gateways acknowledged. Clean: what the dedup stage numbered.
#
# Records are the only copy of what was acknowledged until the writer has read them, so nothing here replaces a stream:
# a stream that is made again under an old name is another one, and its readers halt.

locals {
  streams = {
    raw   = try(var.stream_shards.raw, null)
    clean = try(var.stream_shards.clean, null)
  }
}

resource "aws_kinesis_stream" "stream" {
  for_each = local.streams

  name             = "${var.name}-${each.key}"
  retention_period = var.stream_retention_hours
  shard_count      = each.value
  encryption_type  = "KMS"
  kms_key_id       = aws_kms_key.data.arn
  tags             = var.tags

  stream_mode_details {
    stream_mode = each.value == null ? "ON_DEMAND" : "PROVISIONED"
  }

  lifecycle {
    prevent_destroy = true
  }
}
