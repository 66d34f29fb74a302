# The processes: images, a cluster on Fargate, the load balancer before the gateways, and one module a service.

locals {
  # Binaries, each with an image of its own, by the services that run them.
  images = {
    ingest-gateway = "ingest-gateway"
    dedup-service  = "dedup-service"
    writer-service = "writer-service"
    compactor      = "compactor"
    audit          = "forebay"
  }
  services    = toset(keys(local.images))
  task_groups = { for service in local.services : service => aws_security_group.task[service].id }

  http_port  = 8080
  grpc_port  = 8081
  admin_port = 8082

  # Names of things, as backend/src/settings.rs reads them.
  environment = {
    AWS_REGION             = local.region
    FOREBAY_BACKEND        = "aws"
    FOREBAY_RAW_STREAM     = local.stream_names.raw
    FOREBAY_CLEAN_STREAM   = local.stream_names.clean
    FOREBAY_TABLE          = aws_dynamodb_table.ledger.name
    FOREBAY_BUCKET         = aws_s3_bucket.lake.id
    FOREBAY_OVERFLOW_QUEUE = aws_sqs_queue.queue["overflow"].name
    FOREBAY_LOG_FORMAT     = "json"
    FOREBAY_ADMIN_ADDR     = "0.0.0.0:${local.admin_port}"
  }

  # The same for services that have something in hand when they are asked to stop.
  draining = merge(local.environment, {
    FOREBAY_SHUTDOWN_GRACE = "${var.shutdown_grace_seconds}s"
  })

  # Services that send spans, those that have nothing but metrics to send, the port that all of it goes to, and what such
  # services get.
  traced_services = ["ingest-gateway", "dedup-service", "writer-service"]
  pushed_services = ["compactor", "audit"]
  otlp_port       = var.otlp_endpoint == null ? null : tonumber(regex(":([0-9]+)/?$", var.otlp_endpoint)[0])
  pushed = var.otlp_metrics_every == null ? {} : {
    FOREBAY_OTLP_ENDPOINT      = var.otlp_endpoint
    FOREBAY_OTLP_METRICS_EVERY = var.otlp_metrics_every
  }
  traced = merge(local.draining, local.pushed, var.otlp_endpoint == null ? {} : {
    FOREBAY_OTLP_ENDPOINT = var.otlp_endpoint
    FOREBAY_TRACE_SAMPLE  = var.trace_sample
  })

  # What somebody declares here is meant: readers of a stream that an apply has changed stop, and go on when they start again.
  reading = merge(local.traced, {
    FOREBAY_ACCEPT_CHANGED = join(",", flatten([for role, shards in local.shards : [
      "${local.stream_names[role]}:${shards == null ? "ON_DEMAND" : "PROVISIONED"}",
      "${local.stream_names[role]}:${var.stream_retention_hours}h",
    ]]))
    FOREBAY_FAN_OUT = tostring(var.fan_out)
  })

  # What all services have in common.
  common = {
    cluster_name         = aws_ecs_cluster.cluster.name
    cluster_arn          = aws_ecs_cluster.cluster.arn
    subnet_ids           = aws_subnet.private[*].id
    admin_port           = local.admin_port
    stop_timeout_seconds = var.shutdown_grace_seconds + 20
    log_retention_days   = var.log_retention_days
    kms_key_arn          = aws_kms_key.data.arn
    alarm_actions        = var.alarm_actions
    namespace            = var.name
    region               = local.region
  }
}

resource "aws_ecr_repository" "image" {
  for_each = toset(values(local.images))

  name                 = "${var.name}/${each.key}"
  image_tag_mutability = "IMMUTABLE"
  force_delete         = !var.deletion_protection
  tags                 = var.tags

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.data.arn
  }
}

resource "aws_ecr_lifecycle_policy" "image" {
  for_each = toset(values(local.images))

  repository = aws_ecr_repository.image[each.key].name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Thirty releases to go back to"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 30 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecs_cluster" "cluster" {
  name = var.name
  tags = var.tags

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

# One group a service. Who may talk to whom is in the rules.
resource "aws_security_group" "task" {
  for_each = local.services

  name        = "${var.name}-${each.key}"
  description = "Tasks of ${each.key}"
  vpc_id      = aws_vpc.network.id
  tags        = var.tags
}

module "ingest_gateway" {
  source = "./modules/service"

  common            = local.common
  name              = "ingest-gateway"
  image             = "${aws_ecr_repository.image["ingest-gateway"].repository_url}:${var.image_tag}"
  cpu               = var.gateway.cpu
  memory            = var.gateway.memory
  tasks_min         = var.gateway.tasks_min
  tasks_max         = var.gateway.tasks_max
  task_role_arn     = aws_iam_role.service["ingest-gateway"].arn
  start_role_arn    = aws_iam_role.start["ingest-gateway"].arn
  security_group_id = aws_security_group.task["ingest-gateway"].id
  health_port       = local.http_port
  secrets           = var.write_keys_secret_arn == null ? {} : { FOREBAY_WRITE_KEYS = var.write_keys_secret_arn }
  load_balanced = [
    { target_group_arn = aws_lb_target_group.http.arn, port = local.http_port },
    { target_group_arn = aws_lb_target_group.grpc.arn, port = local.grpc_port },
  ]

  environment = merge(local.traced, {
    FOREBAY_HTTP_ADDR    = "0.0.0.0:${local.http_port}"
    FOREBAY_GRPC_ADDR    = "0.0.0.0:${local.grpc_port}"
    FOREBAY_CORS_ORIGINS = var.cors_origins
    FOREBAY_DRAIN_NOTICE = "5s" # Until the load balancer sends no more; a part of the grace.
    FOREBAY_RECORD_LEVEL = tostring(var.record_level)
    FOREBAY_WINDOW       = "${var.dedup_window_hours}h"
  }, lookup(var.extra_environment, "ingest-gateway", {}))

  scale_on_cpu_percent = 60
  scale_on_requests = {
    resource_label = "${aws_lb.gateway.arn_suffix}/${aws_lb_target_group.http.arn_suffix}"
    each_minute    = var.gateway.requests_each_minute
  }

  depends_on = [aws_lb_listener.https, aws_lb_listener_rule.grpc, aws_iam_role_policy.service, aws_iam_role_policy.start]
}

module "dedup_service" {
  source = "./modules/service"

  common            = local.common
  name              = "dedup-service"
  image             = "${aws_ecr_repository.image["dedup-service"].repository_url}:${var.image_tag}"
  cpu               = var.dedup.cpu
  memory            = var.dedup.memory
  tasks_min         = var.dedup.tasks_min
  tasks_max         = var.dedup.tasks_max
  task_role_arn     = aws_iam_role.service["dedup-service"].arn
  start_role_arn    = aws_iam_role.start["dedup-service"].arn
  security_group_id = aws_security_group.task["dedup-service"].id
  health_port       = local.admin_port
  scale_on_lag_of   = local.lag["raw"]

  environment = merge(local.reading, {
    FOREBAY_WINDOW         = "${var.dedup_window_hours}h"
    FOREBAY_WINDOW_IDS_MAX = tostring(var.dedup.window_ids_max)
    FOREBAY_DEDUP_LINGER   = var.dedup_linger
  }, lookup(var.extra_environment, "dedup-service", {}))

  depends_on = [aws_iam_role_policy.service, aws_iam_role_policy.start]
}

module "writer_service" {
  source = "./modules/service"

  common            = local.common
  name              = "writer-service"
  image             = "${aws_ecr_repository.image["writer-service"].repository_url}:${var.image_tag}"
  cpu               = var.writer.cpu
  memory            = var.writer.memory
  tasks_min         = var.writer.tasks_min
  tasks_max         = var.writer.tasks_max
  task_role_arn     = aws_iam_role.service["writer-service"].arn
  start_role_arn    = aws_iam_role.start["writer-service"].arn
  security_group_id = aws_security_group.task["writer-service"].id
  health_port       = local.admin_port
  scale_on_lag_of   = local.lag["clean"]

  environment = merge(local.reading, {
    FOREBAY_FLUSH_INTERVAL = var.flush_interval
    FOREBAY_WRITER_MEMORY  = var.writer.row_memory
  }, lookup(var.extra_environment, "writer-service", {}))

  depends_on = [aws_iam_role_policy.service, aws_iam_role_policy.start]
}

# Workers, as many as there are tasks for. The schedule runs the same image with another command.
module "compactor" {
  source = "./modules/service"

  common            = local.common
  name              = "compactor"
  image             = "${aws_ecr_repository.image["compactor"].repository_url}:${var.image_tag}"
  command           = ["work"]
  cpu               = var.compactor.cpu
  memory            = var.compactor.memory
  tasks_min         = 0
  tasks_max         = var.compactor.workers_max
  task_role_arn     = aws_iam_role.service["compactor"].arn
  start_role_arn    = aws_iam_role.start["compactor"].arn
  security_group_id = aws_security_group.task["compactor"].id
  health_port       = local.admin_port
  scale_on_queue    = aws_sqs_queue.queue["tasks"].name
  # The one place in all services where something is written to a disk: rows that do not fit into memory.
  scratch = { path = "/tmp", disk_gib = var.compactor.disk_gib }

  environment = merge(local.draining, local.pushed, {
    FOREBAY_TASK_QUEUE       = aws_sqs_queue.queue["tasks"].name
    FOREBAY_COMPACTOR_MEMORY = var.compactor.sort_memory
    FOREBAY_SPILL_DIR        = "/tmp"
  }, lookup(var.extra_environment, "compactor", {}))

  depends_on = [aws_iam_role_policy.service, aws_iam_role_policy.start]
}

# Reads the chains again and again, and says whether an event is missing. One is enough: all would see the same.
module "audit" {
  source = "./modules/service"

  common            = local.common
  name              = "audit"
  binary            = local.images["audit"]
  image             = "${aws_ecr_repository.image[local.images["audit"]].repository_url}:${var.image_tag}"
  command           = ["audit", "--watch", var.audit.every, "--missing-after", var.audit.missing_after]
  environment       = merge(local.environment, local.pushed, lookup(var.extra_environment, "audit", {}))
  cpu               = var.audit.cpu
  memory            = var.audit.memory
  tasks_min         = 1
  tasks_max         = 1
  task_role_arn     = aws_iam_role.service["audit"].arn
  start_role_arn    = aws_iam_role.start["audit"].arn
  security_group_id = aws_security_group.task["audit"].id
  health_port       = local.admin_port
  checks_health     = false

  depends_on = [aws_iam_role_policy.service, aws_iam_role_policy.start]
}

# The load balancer

resource "aws_security_group" "load_balancer" {
  name        = "${var.name}-load-balancer"
  description = "The load balancer before the gateways"
  vpc_id      = aws_vpc.network.id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  for_each = toset(var.allowed_cidrs)

  security_group_id = aws_security_group.load_balancer.id
  cidr_ipv4         = each.value
  description       = "Producers"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  for_each = { http = local.http_port, grpc = local.grpc_port }

  security_group_id            = aws_security_group.load_balancer.id
  referenced_security_group_id = aws_security_group.task["ingest-gateway"].id
  description                  = "Gateways, ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "gateway" {
  for_each = { http = local.http_port, grpc = local.grpc_port }

  security_group_id            = aws_security_group.task["ingest-gateway"].id
  referenced_security_group_id = aws_security_group.load_balancer.id
  description                  = "The load balancer, ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_lb" "gateway" {
  # checkov:skip=CKV2_AWS_28:Who may send is decided by write keys, and requests are bounded by the gateway itself; a web ACL of the company's own is attached to load_balancer_arn.
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = !var.public
  subnets                    = var.public ? aws_subnet.public[*].id : aws_subnet.private[*].id
  security_groups            = [aws_security_group.load_balancer.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  # Less than the gateway's --idle-timeout: the side that may send next must be the one that closes.
  idle_timeout = 60
  tags         = var.tags

  access_logs {
    bucket  = aws_s3_bucket.logs.id
    prefix  = "gateway"
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.logs]
}

# No listener on port 80: an event that was sent in the clear has been read by the time it is redirected.
resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.gateway.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.http.arn
  }
}

resource "aws_lb_listener_rule" "grpc" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 10
  tags         = var.tags

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.grpc.arn
  }

  condition {
    http_header {
      http_header_name = "content-type"
      values           = ["application/grpc*"]
    }
  }
}

# What shows health and figures is for operators.
resource "aws_lb_listener_rule" "closed" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 5
  tags         = var.tags

  action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "not found"
      status_code  = "404"
    }
  }

  condition {
    path_pattern {
      values = ["/healthz", "/metrics", "/readyz"]
    }
  }
}

resource "aws_lb_target_group" "http" {
  # checkov:skip=CKV_AWS_378:TLS ends at the load balancer; the way from there is inside the network, open to the load balancer's group alone.
  name                 = "${var.name}-http"
  port                 = local.http_port
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = aws_vpc.network.id
  deregistration_delay = 30
  tags                 = var.tags

  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_target_group" "grpc" {
  # checkov:skip=CKV_AWS_378:As for HTTP.
  name                 = "${var.name}-grpc"
  port                 = local.grpc_port
  protocol             = "HTTP"
  protocol_version     = "GRPC"
  target_type          = "ip"
  vpc_id               = aws_vpc.network.id
  deregistration_delay = 30
  tags                 = var.tags

  health_check {
    path                = "/grpc.health.v1.Health/Check"
    matcher             = "0"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}
