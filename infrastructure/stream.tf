# Raw: what gateways acknowledged. Clean: what the dedup stage numbered.
#
# Records are the only copy of what was acknowledged until the writer has read them, so nothing here replaces a stream:
# a stream that is made again under an old name is another one, and its readers halt.

locals {
  shards = {
    raw   = try(var.stream_shards.raw, null)
    clean = try(var.stream_shards.clean, null)
  }
  # What the streams of each generation are called after the installation. The first has no number.
  generations = [for number in var.stream_generations : {
    for role in keys(local.shards) : role => number == 1 ? role : "${role}-${number}"
  }]
  streams = merge([for generation in local.generations : { for role, key in generation : key => local.shards[role] }]...)

  # The pair that services use. Roles allow the others too: until an apply is through, tasks of before work on them.
  current      = local.generations[length(local.generations) - 1]
  stream_names = { for role, key in local.current : role => aws_kinesis_stream.stream[key].name }
  stream_arns  = { for role in keys(local.shards) : role => [for generation in local.generations : aws_kinesis_stream.stream[generation[role]].arn] }
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
