# Chains of decisions, announcements and plans, and leases: one table of two string keys.
#
# A ledger that is lost, or goes back in time, gives ordinals out twice and makes the writer drop new events in silence.
# No time to live is set: deleting a slot of a chain makes its condition true again for an owner that was believed dead.

resource "aws_dynamodb_table" "ledger" {
  name                        = coalesce(var.table_name, var.name)
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.data.arn
  }

  lifecycle {
    prevent_destroy = true
  }
}
