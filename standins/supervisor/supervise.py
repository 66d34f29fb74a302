"""Owns the servers that stand in for AWS: starts each when somebody first asks for it, and ends all when nobody is left.

User: a process that holds a connection to the supervisor; the kernel closes it, however the process ends.
Grace: how long servers stay after the last user, for the next test binary of the same run.

One supervisor owns a run folder: it holds `supervisor.lock` for as long as it lives, and says in `supervisor.json` where
it listens. A user writes one line, `{"token": …, "server": "kinesis"}`, and gets one, `{"url": …}` or `{"error": …}`; a
second one, `{"died": …}`, follows if that server ends while it is in use.

Usage: supervise.py INSTALLS RUN GRACE_SECONDS; comes back at once, the supervisor stays."""

import asyncio
import fcntl
import json
import os
import secrets
import signal
import sys

import install
import processes
import servers

# More than any process has open at its start.
FILES_MAX = 1024

LINE_BYTES_MAX = 4096

# Whoever started the supervisor comes right away, however short the grace is.
FIRST_USER_SECONDS_MAX = 10


class Supervisor:
    def __init__(self, home, run, grace):
        self.home, self.run, self.grace = home, run, grace
        self.token = secrets.token_hex(16)
        self.users = 0
        self.servers, self.starts = {}, {}
        self.idle, self.stop = None, asyncio.Event()

    async def live(self):
        for sign in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sign, self.stop.set)
        listener = await asyncio.start_server(self.serve, servers.HOST, 0, limit=LINE_BYTES_MAX)
        self.announce(listener.sockets[0].getsockname()[1])
        self.wait_for_users(max(self.grace, FIRST_USER_SECONDS_MAX))
        await self.stop.wait()
        listener.close()
        for start in self.starts.values():
            start.cancel()
        await asyncio.gather(*self.starts.values(), return_exceptions=True)
        await asyncio.gather(*(server.end() for server in self.servers.values()))
        for name in ("supervisor.json", "servers.json"):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))

    def path(self, name):
        return os.path.join(self.run, name)

    def announce(self, port):
        part = self.path("supervisor.json.part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({"port": port, "token": self.token}, file)
        os.replace(part, self.path("supervisor.json"))

    def wait_for_users(self, seconds):
        self.idle = asyncio.get_running_loop().call_later(seconds, self.stop.set)

    async def serve(self, reader, writer):
        """One user, from its request to its end."""
        self.users += 1
        self.idle.cancel()
        try:
            request = json.loads(await reader.readline())
            if request["token"] == self.token:
                await self.attend(request["server"], reader, writer)
        except (ConnectionError, ValueError, KeyError):
            pass
        finally:
            writer.close()
            self.users -= 1
            if self.users == 0:
                self.wait_for_users(self.grace)

    async def attend(self, name, reader, writer):
        gone = asyncio.ensure_future(reader.read(1))
        try:
            server = await self.started(name)
            start = self.starts.get(name)
        except (install.Missing, install.Failed, servers.Died) as error:
            say(writer, {"error": str(error)})
            await writer.drain()
            return
        say(writer, {"url": server.url})
        died = asyncio.ensure_future(server.process.wait())
        await asyncio.wait({gone, died}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.done() and not self.stop.is_set():
            say(writer, {"died": server.obituary()})
            self.forget(name, start)
            await gone

    async def started(self, name):
        """The server of a name, which is started once, whoever asks. One that failed or died is tried again for the next."""
        start = self.starts.get(name)
        if start is not None and start.done() and not start.exception() and processes.has_ended(start.result().process):
            self.forget(name, start)
        if name not in self.starts:
            self.starts[name] = asyncio.ensure_future(self.start(name))
        start = self.starts[name]
        try:
            return await asyncio.shield(start)
        except Exception:
            self.forget(name, start)
            raise

    def forget(self, name, start):
        """The next to ask starts the server again; unless somebody has already."""
        if self.starts.get(name) is start:
            del self.starts[name]

    async def start(self, name):
        server = self.servers[name] = servers.server(name, self.home, self.run)
        await server.start(self.remember)
        return server

    def remember(self):
        running = [server.process for server in self.servers.values() if server.process is not None]
        pids = [process.pid for process in running if process.returncode is None]
        processes.remember(self.path("servers.json"), pids)


def say(writer, message):
    writer.write(json.dumps(message).encode() + b"\n")


def leave_the_caller():
    """Goes on in a process that nobody waits for and that holds nothing of the caller's open."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.closerange(3, FILES_MAX)


def main():
    home, run, grace = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), float(sys.argv[3])
    os.makedirs(run, exist_ok=True)
    leave_the_caller()
    with open(os.path.join(run, "supervisor.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        with open(os.path.join(run, "supervisor.log"), "wb") as log:
            os.dup2(log.fileno(), 2)
        processes.end_remembered(os.path.join(run, "servers.json"))
        asyncio.run(alive(home, run, grace))


async def alive(home, run, grace):
    await Supervisor(home, run, grace).live()


main()
