"""Child processes that never outlive their parent: on Linux the kernel ends them with it, and the parent's successor
ends what an old list of them still names."""

import asyncio
import ctypes
import json
import os
import signal
import sys

# How long a child may take to end by itself.
END_SECONDS_MAX = 3

# Enough to see why a server died.
LOG_LINES = 20

# Source: <https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html>
PR_SET_PDEATHSIG = 1

LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


async def spawn(command, environment, folder, log):
    """Starts a child that dies with this process."""
    parent = os.getpid()

    def tie():
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=folder, stdin=quiet, stdout=log, stderr=log, preexec_fn=tie
    )


def has_ended(process):
    """Whether a child is dead, even where its parent has not been told yet."""
    return process.returncode is not None or (LIBC is not None and birth(process.pid) is None)


async def end(process):
    """Ends a child, politely first."""
    if process.returncode is not None:
        return
    try:
        process.terminate()
        await asyncio.wait_for(process.wait(), END_SECONDS_MAX)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
    except ProcessLookupError:
        pass


def last_lines(log):
    """The end of a log."""
    with open(log, errors="replace") as file:
        return "".join(file.readlines()[-LOG_LINES:]).rstrip()


def birth(pid):
    """Tells a process from any other that had or will have its number; nothing where it is gone or can't be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot, open(f"/proc/{pid}/stat") as stat:
            after_name = stat.read().rpartition(")")[2].split()
            state, started = after_name[0], after_name[19]
            return None if state == "Z" else f"{boot.read().strip()} {started}"
    except OSError:
        return None


def remember(path, pids):
    """Writes down which children there are."""
    with open(f"{path}.part", "w") as file:
        json.dump([[pid, birth(pid)] for pid in pids], file)
    os.replace(f"{path}.part", path)


def end_remembered(path):
    """Ends the children of a predecessor that was killed, where the kernel has not done so."""
    try:
        with open(path) as file:
            children = json.load(file)
    except (OSError, ValueError):
        return
    for pid, born in children:
        if born is not None and birth(pid) == born:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    os.remove(path)
