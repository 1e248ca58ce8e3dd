"""`cascada report`, typed as an operator does, on the pages that services expose."""

import asyncio
import io
import re
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cascada import BadInput, Cache, Cost, Limits, Loaded, Price, __version__
from cascada.cli.command import main
from cascada.cli.pages import report
from cascada.integrations.prometheus import CONTENT_TYPE_LATEST, exposition
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.row import all_stored, until

ROOT = Path(__file__).parents[2]
HEADING = "type   reads  hits  ratio  saved s  checked  differed  1 s  10 s  consistent\n"


def cascada(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command in this process, which has imported all that it needs."""
    words = [*map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            status = main(words)
        except SystemExit as left:  # argparse's way to end
            status = int(left.code or 0)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def program(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, as it is typed."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "cascada", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(*arguments: str | Path, stdin: str = "") -> str:
    """The one sentence of a command that cannot be carried out."""
    said = cascada(*arguments, stdin=stdin)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("cascada: ")
    assert said.stderr.count("\n") == 1
    return said.stderr.strip()


async def page(mode: str = "observe", tenants: int = 0) -> str:
    """What a worker exposes: per tenant 1 miss, 3 hits, of which the last is stale."""
    async with Cache(mode=mode, clock=ManualClock()) as cache:  # type: ignore[arg-type]
        inside(cache).check.pauses = (0.0, 0.0)
        for name in ("acme", "initech"):
            handle = cache.tenant(name)
            await handle.load("price", "1", lambda: 100)
            await all_stored(handle)
            for value in (100, 100, 110):
                await handle.load("price", "1", lambda value=value: value)  # type: ignore[misc]
        await until(lambda: not inside(cache).being_checked)
        return (await exposition(cache, tenants=tenants)).decode()


@pytest.fixture(scope="module")
def observed() -> str:
    return asyncio.run(page())


def test_a_page_in_a_file(observed: str, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text(observed)
    said = program("report", tmp_path / "page.txt")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == HEADING + (
        "price      8     6  0.750      0.0        6         2    2     2      0.6667\n"
        "all        8     6  0.750      0.0        6         2    2     2      0.6667\n"
        "\n"
        "2 of 6 compared hits would have been wrong for 10 s and longer: find what changes price "
        "without invalidating it, or let it expire sooner.\n"
    )


def test_labels_for_tenants_add_up_to_the_same(observed: str) -> None:
    with_tenants = asyncio.run(page(tenants=1))
    assert 'tenant="acme"' in with_tenants
    assert cascada("report", "-", stdin=with_tenants).stdout == (
        program("report", "-", stdin=observed).stdout
    )


def test_other_metrics_of_the_service_do_not_matter(observed: str) -> None:
    others = '# TYPE other summary\nother{quantile="0.9"} NaN\nother_count 0\nother_sum 0\n'
    assert cascada("report", "-", stdin=others + observed).stdout == (
        cascada("report", "-", stdin=observed).stdout
    )


def test_the_pages_of_several_workers_are_added_up(observed: str, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text(observed)
    said = cascada("report", tmp_path / "page.txt", "-", tmp_path / "page.txt", stdin=observed)
    assert "all       24    18  0.750      0.0       18         6    6     6      0.6667" in (
        said.stdout
    )
    on = asyncio.run(page("on"))
    mixed = cascada("report", tmp_path / "page.txt", "-", stdin=on).stdout
    assert "all       16    12" in mixed
    assert "compared hits were wrong" in mixed, "no longer what would have been"


def test_pages_of_the_same_workers_count_once(observed: str) -> None:
    """Each worker's page is the sum of all."""
    assert 'cache_workers{group=""} 1.0' in observed
    together = observed.replace('cache_workers{group=""} 1.0', 'cache_workers{group="g"} 4.0')
    later = together.replace('layer="l1"} 6.0', 'layer="l1"} 7.0')
    assert later != together
    for pages in ([later, together], [together, later]):
        said = str(report_of(*pages, observed))
        assert "all       17    13" in said
        assert "These are the counts of 5 workers.\n" in said
    assert "workers" not in str(report_of(observed))


def report_of(*pages: str) -> object:
    with TemporaryDirectory() as folder:
        files = [Path(folder, str(number)) for number in range(len(pages))]
        for file, text in zip(files, pages, strict=True):
            file.write_text(text, "utf-8")
        return report([str(file) for file in files])


def test_a_database_below_changes_nothing_in_the_sums(tmp_path: Path) -> None:
    async def exposed() -> str:
        async with Cache(database=str(tmp_path / "l3.db"), limits=Limits(op_timeout=10)) as cache:
            acme = cache.tenant("acme")
            await acme.set("x", "1", "text")
            await acme.get("x", "1")
            inside(cache).memory.flush()
            await acme.get("x", "1")
            await acme.get("x", "nothing")
            return (await exposition(cache)).decode()

    said = cascada("report", "-", stdin=asyncio.run(exposed()))
    assert "all       3     2  0.667" in said.stdout


class Handler(BaseHTTPRequestHandler):
    """A service whose metrics page asks for a password, and a few others."""

    page = b""

    def do_GET(self) -> None:
        user = "Basic " + b64encode(b"ops:hunter2@").decode()
        if self.path == "/protected" and self.headers["Authorization"] != user:
            self.send_error(401)
        elif self.path in ("/metrics", "/protected"):
            self.answer(self.page)
        elif self.path == "/image":
            self.answer(b"\xff\xd8\xff")
        else:
            self.send_error(404)

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(observed: str) -> Iterator[str]:
    Handler.page = observed.encode()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_a_page_that_is_served(server: str, observed: str) -> None:
    said = cascada("report", f"http://{server}/metrics", f"http://{server}/metrics")
    assert said.returncode == 0, said.stderr
    assert "all       16    12" in said.stdout


def test_a_page_behind_a_password_that_is_never_shown(server: str) -> None:
    said = cascada("report", f"http://ops:hunter2%40@{server}/protected")
    assert said.returncode == 0, said.stderr
    for url in (
        f"http://ops:hunter@{server}/protected",
        "http://ops:hunter@127.0.0.1:1/metrics",
        "http://ops:hunter@127.0.0.1:port/metrics",
        "http://ops:hunter@[::1/metrics",
    ):
        assert "hunter" not in refused("report", url)
    for url in (
        "http://ops:hunter/2@127.0.0.1:1/metrics",
        "http://ops:12#hunter@127.0.0.1:1/metrics",
        "http://ops:12?hunter@127.0.0.1:1/metrics",
        "http://127.0.0.1:1/metrics?token=hunter",
        "ftp://ops:hunter@127.0.0.1/metrics",
        "ops:hunter@127.0.0.1/metrics",
    ):
        with pytest.raises(BadInput) as told:
            report([url])
        assert "hunter" not in str(told.value)


@pytest.mark.parametrize(
    ("path", "says"),
    [("nothing", "cannot be read: Not Found"), ("image", "is no metrics page: it is no text")],
)
def test_a_server_without_such_a_page(server: str, path: str, says: str) -> None:
    assert refused("report", f"http://{server}/{path}") == (
        f"cascada: http://{server}/{path} {says}"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has none of cascada's metrics"),
        ("# TYPE http_requests counter\nhttp_requests_total 5\n", "has none of cascada's metrics"),
        ("<html><body>Sign in</body></html>", "metrics"),
        ('cache_hit_total{layer="l1"} 5\n', "is no metrics page of cascada's"),
        ('cache_mode{mode="on"} 1\ncache_hit_total{data_type="x"} NaN\n', "is no metrics page"),
        ('cache_mode{mode="on"} 1\ncache_hit_total{data_type="x"} +Inf\n', "is no metrics page"),
    ],
)
def test_what_is_no_page_of_cascada_s(text: str, says: str) -> None:
    sentence = refused("report", "-", stdin=text)
    assert sentence.startswith("cascada: standard input ")
    assert says in sentence


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    sentence = f"cascada: {path} cannot be read: No such file or directory"
    assert refused("report", path) == sentence
    said = program("report", path)
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"{sentence}\n")
    assert "cannot be read: Is a directory" in refused("report", tmp_path)


def test_a_server_that_is_not_there() -> None:
    assert "http://127.0.0.1:1/metrics cannot be read: " in (
        refused("report", "http://127.0.0.1:1/metrics")
    )


def test_the_command_explains_itself() -> None:
    for arguments in (["--help"], ["report", "--help"]):
        said = cascada(*arguments)
        assert (said.returncode, said.stderr) == (0, "")
        assert "what caches are worth" in said.stdout.lower()
    assert cascada("--version").stdout == f"cascada {__version__}\n"
    for nonsense in ([], ["report"], ["rapport", "-"]):
        said = cascada(*nonsense)
        assert (said.returncode, said.stdout) == (2, "")
        assert "usage: cascada" in said.stderr


def test_a_reader_that_goes_away_early_is_no_error(observed: str, tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text(observed)
    said = subprocess.run(
        f"{sys.executable} -m cascada report page.txt | true",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stderr == ""


def test_every_command_is_documented() -> None:
    listed = re.findall(r"^    (\w+) ", cascada("--help").stdout, re.M)
    pages = "".join(path.read_text("utf-8") for path in ROOT.glob("docs/*.md"))
    assert {"report", "top", "doctor"} <= {*listed}
    assert all(f"\ncascada {command}" in pages for command in listed)


def test_what_was_spent_and_saved_is_added_up_from_pages(tmp_path: Path) -> None:
    async def exposed() -> str:
        prices = {"m": Price(input=3, output=15)}
        async with Cache(prices=prices) as cache:
            acme = cache.tenant("acme")
            for cost in (Cost(model="m", tokens_in=1000, tokens_out=100), 0.1, None):
                for _ in range(3):
                    await acme.load("answer", f"{cost}", lambda cost=cost: Loaded("x", cost=cost))
            return (await exposition(cache, tenants=3)).decode()

    page = tmp_path / "page.txt"
    page.write_text(asyncio.run(exposed()))
    found = report([str(page)] * 2).types["answer"]
    for of, times in ((found.spent, 2), (found.saved, 4)):
        assert (of.tokens_in, of.tokens_out, of.tokens_cached) == (1000 * times, 100 * times, 0)
        assert (of.money, of.unpriced) == (Decimal("0.1045") * times, times)


def test_a_page_of_an_older_version_says_how_many_seconds_were_saved(tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.write_text(
        'cache_mode{mode="on"} 1\n# TYPE cache_saved_seconds counter\n'
        'cache_saved_seconds_total{data_type="x"} 2.5\n'
    )
    found = report([str(page)]).types["x"]
    assert (found.saved_seconds, found.saved.money) == (2.5, None)
