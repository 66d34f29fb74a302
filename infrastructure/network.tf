# Tasks have no public address and no way out: they reach AWS through endpoints in their own network, and a collector there
# where one is named.

locals {
  # What a task talks to without a gateway endpoint: its image, its logs, its key's secrets, streams and queues.
  endpoint_services = toset(["ecr.api", "ecr.dkr", "kinesis-streams", "logs", "secretsmanager", "sqs"])
}

resource "aws_vpc" "network" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(var.tags, { Name = var.name })
}

# Without rules: what nobody gave a group of its own reaches nothing.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.network.id
  tags   = merge(var.tags, { Name = "${var.name}-closed" })
}

resource "aws_subnet" "private" {
  count = length(var.zones)

  vpc_id            = aws_vpc.network.id
  cidr_block        = cidrsubnet(var.cidr, 3, count.index)
  availability_zone = var.zones[count.index]
  tags              = merge(var.tags, { Name = "${var.name}-private-${var.zones[count.index]}" })
}

resource "aws_subnet" "public" {
  count = length(var.zones)

  vpc_id                  = aws_vpc.network.id
  cidr_block              = cidrsubnet(var.cidr, 3, 4 + count.index)
  availability_zone       = var.zones[count.index]
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "${var.name}-public-${var.zones[count.index]}" })
}

resource "aws_internet_gateway" "internet" {
  vpc_id = aws_vpc.network.id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.network.id
  tags   = merge(var.tags, { Name = "${var.name}-public" })

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.internet.id
  }
}

resource "aws_route_table_association" "public" {
  count = length(var.zones)

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.network.id
  tags   = merge(var.tags, { Name = "${var.name}-private" })
}

resource "aws_route_table_association" "private" {
  count = length(var.zones)

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

# Free, unlike the others, and what moves the most bytes goes through them.
resource "aws_vpc_endpoint" "gateway" {
  for_each = toset(["dynamodb", "s3"])

  vpc_id            = aws_vpc.network.id
  service_name      = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
  tags              = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.endpoint_services

  vpc_id              = aws_vpc.network.id
  service_name        = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of AWS services"
  vpc_id      = aws_vpc.network.id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_tasks" {
  for_each = local.task_groups

  security_group_id            = aws_security_group.endpoints.id
  referenced_security_group_id = each.value
  description                  = "Calls of AWS by ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "tasks_to_endpoints" {
  for_each = local.task_groups

  security_group_id            = each.value
  referenced_security_group_id = aws_security_group.endpoints.id
  description                  = "Calls of AWS"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

locals {
  gateway_endpoint_rules = {
    for pair in setproduct(keys(local.task_groups), keys(aws_vpc_endpoint.gateway)) : join("-", pair) => {
      group = local.task_groups[pair[0]]
      list  = aws_vpc_endpoint.gateway[pair[1]].prefix_list_id
    }
  }
}

resource "aws_vpc_security_group_egress_rule" "tasks_to_gateway_endpoints" {
  for_each = local.gateway_endpoint_rules

  security_group_id = each.value.group
  prefix_list_id    = each.value.list
  description       = "S3 and DynamoDB"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Who watches, by service and place in the list: which groups they are may only be known once they are made.
locals {
  watching = {
    for pair in setproduct(keys(local.task_groups), range(length(var.monitoring_security_group_ids))) : join("-", pair) => {
      service = pair[0]
      group   = local.task_groups[pair[0]]
      watcher = var.monitoring_security_group_ids[pair[1]]
    }
  }
  sending_services = concat(
    var.otlp_endpoint == null ? [] : local.traced_services,
    var.otlp_metrics_every == null ? [] : local.pushed_services,
  )
  sending = { for name, pair in local.watching : name => pair if contains(local.sending_services, pair.service) }
}

resource "aws_vpc_security_group_ingress_rule" "monitoring" {
  for_each = local.watching

  security_group_id            = each.value.group
  referenced_security_group_id = each.value.watcher
  description                  = "Health and figures of ${each.value.service}"
  ip_protocol                  = "tcp"
  from_port                    = local.admin_port
  to_port                      = local.admin_port
}

resource "aws_vpc_security_group_egress_rule" "tasks_to_collector" {
  for_each = local.sending

  security_group_id            = each.value.group
  referenced_security_group_id = each.value.watcher
  description                  = "Spans and metrics of ${each.value.service}"
  ip_protocol                  = "tcp"
  from_port                    = local.otlp_port
  to_port                      = local.otlp_port
}

resource "aws_flow_log" "network" {
  vpc_id          = aws_vpc.network.id
  traffic_type    = "REJECT"
  log_destination = aws_cloudwatch_log_group.flows.arn
  iam_role_arn    = aws_iam_role.flows.arn
  tags            = var.tags
}

resource "aws_cloudwatch_log_group" "flows" {
  name              = "/${var.name}/refused-connections"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.data.arn
  tags              = var.tags
}
