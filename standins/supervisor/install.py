"""Installs pinned packages, each once. A folder that has its final name is complete: an install happens under another
name, and one that was interrupted starts again from nothing."""

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import shutil
import sys

import processes

# A slow network and a busy machine together.
INSTALL_SECONDS_MAX = 600

# How often a lock that another process holds is tried again.
LOCK_PAUSE_SECONDS = 0.2


class Missing(Exception):
    """Something that a person has to install first; the message is one line."""


class Failed(Exception):
    """An installer gave up; the message ends in its last lines."""


def need(program, product):
    """The path of a program, or one line that says what to install."""
    path = shutil.which(program)
    if path is None:
        raise Missing(f"the stand-ins for AWS need `{program}`, which is not there: install {product}")
    return path


async def npm(home, package, version):
    """The folder of an npm package."""
    need("node", "Node.js 18 or newer")
    npm_path = need("npm", "npm, which comes with Node.js")

    async def fill(part, log):
        with open(os.path.join(part, "package.json"), "w") as manifest:
            manifest.write("{}")
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        await execute([npm_path, "install", *options, f"{package}@{version}"], part, log)

    folder = await once(home, f"{package}-{version}", fill)
    return os.path.join(folder, "node_modules", package)


async def pip(home, package, version):
    """The folder of a virtual environment with one package. Its scripts name the folder it was made in: run its modules
    by `bin/python -m`."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Missing("the stand-ins for AWS need Python's venv and ensurepip, which are not there: install python3-venv")

    async def fill(part, log):
        await execute([sys.executable, "-m", "venv", part], part, log)
        options = ["--quiet", "--disable-pip-version-check", "--no-input"]
        python = os.path.join(part, "bin", "python")
        await execute([python, "-m", "pip", "install", *options, f"{package}=={version}"], part, log)

    return await once(home, f"{package}-{version}", fill)


async def once(home, name, fill):
    """The folder `name`, filled unless it is there already. Supervisors of other runs wait for the one that fills it."""
    folder, part = os.path.join(home, name), os.path.join(home, f"{name}.part")
    os.makedirs(home, exist_ok=True)
    async with locked(os.path.join(home, f"{name}.lock")):
        if not os.path.isdir(folder):
            shutil.rmtree(part, ignore_errors=True)
            os.makedirs(part)
            await fill(part, os.path.join(home, f"{name}.log"))
            os.rename(part, folder)
    return folder


@contextlib.asynccontextmanager
async def locked(path):
    """Holds a lock among processes; the kernel takes it from a holder that dies."""
    with open(path, "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOCK_PAUSE_SECONDS)
        yield


async def execute(command, folder, log):
    """Runs an installer to its end."""
    with open(log, "ab") as output:
        process = await processes.spawn(command, os.environ, folder, output)
    try:
        code = await asyncio.wait_for(process.wait(), INSTALL_SECONDS_MAX)
    except asyncio.TimeoutError:
        code = f"nothing after {INSTALL_SECONDS_MAX} s"
    finally:
        await processes.end(process)
    if code != 0:
        raise Failed(f"`{' '.join(command)}` gave {code}\n{processes.last_lines(log)}")
