# One service on Fargate: its tasks, their number, their log and the alarms that every service has.

locals {
  binary = coalesce(var.binary, var.name)
  health = ["CMD", "/usr/local/bin/forebay-process", "--check-health", "127.0.0.1:${var.health_port}"]

  container = {
    name                   = var.name
    image                  = var.image
    command                = var.command
    essential              = true
    readonlyRootFilesystem = true
    user                   = "65532:65532"
    environment            = [for key, value in var.environment : { name = key, value = value }]
    secrets                = [for key, arn in var.secrets : { name = key, valueFrom = arn }]
    portMappings           = [for port in distinct(concat([var.health_port], var.load_balanced[*].port)) : { containerPort = port, protocol = "tcp" }]
    # Draining comes first, and the kill after it.
    stopTimeout = var.common.stop_timeout_seconds
    mountPoints = var.scratch == null ? [] : [{ sourceVolume = "scratch", containerPath = var.scratch.path, readOnly = false }]

    linuxParameters = {
      initProcessEnabled = false
      capabilities       = { drop = ["ALL"] }
    }

    # Patient: a process that waits for AWS is not ready, and a new one would wait as well.
    healthCheck = !var.checks_health ? null : {
      command     = local.health
      interval    = 30
      timeout     = 5
      retries     = 10
      startPeriod = 120
    }

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.service.name
        awslogs-region        = var.common.region
        awslogs-stream-prefix = "task"
        # A process never waits for its log.
        mode            = "non-blocking"
        max-buffer-size = "4m"
      }
    }
  }
}

resource "aws_cloudwatch_log_group" "service" {
  name              = "/${var.common.namespace}/${var.name}"
  retention_in_days = var.common.log_retention_days
  kms_key_id        = var.common.kms_key_arn
}

resource "aws_ecs_task_definition" "service" {
  # checkov:skip=CKV_AWS_336:The root file system of the one container is read-only, as local.container says; checkov does not look into locals.
  family                   = "${var.common.namespace}-${var.name}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  task_role_arn            = var.task_role_arn
  execution_role_arn       = var.start_role_arn
  container_definitions    = jsonencode([local.container])

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }

  dynamic "volume" {
    for_each = var.scratch == null ? [] : [var.scratch]

    content {
      name = "scratch"
    }
  }

  dynamic "ephemeral_storage" {
    for_each = var.scratch == null ? [] : [var.scratch]

    content {
      size_in_gib = ephemeral_storage.value.disk_gib
    }
  }
}

resource "aws_ecs_service" "service" {
  name                               = var.name
  cluster                            = var.common.cluster_arn
  task_definition                    = aws_ecs_task_definition.service.arn
  desired_count                      = var.tasks_min
  launch_type                        = "FARGATE"
  platform_version                   = "LATEST"
  availability_zone_rebalancing      = "ENABLED"
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  enable_execute_command             = false
  propagate_tags                     = "SERVICE"
  health_check_grace_period_seconds  = length(var.load_balanced) > 0 ? 60 : null

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.common.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }

  dynamic "load_balancer" {
    for_each = var.load_balanced

    content {
      target_group_arn = load_balancer.value.target_group_arn
      container_name   = var.name
      container_port   = load_balancer.value.port
    }
  }

  lifecycle {
    # Scaling has the last word.
    ignore_changes = [desired_count]
  }
}
