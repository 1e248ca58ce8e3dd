"""The stream of keys, written and read back."""

import gzip
from pathlib import Path

import pytest

from examples.agent_service.trace import Access, read_trace, write_trace


def test_a_trace_comes_back_as_it_was_written(tmp_path: Path) -> None:
    accesses = [
        Access(0, "acme:query:a,b", 10),
        Access(3, 'acme:"quoted"\nwith ümlaut', 7),
        Access(3, "acme:query:a,b", 12),
        Access(9, "acme:query:a,b", 11),
    ]
    file = tmp_path / "keys.csv.gz"
    assert write_trace(file, accesses) == 4
    # the size of a key is fixed: the largest that was seen
    assert read_trace(file) == [
        access._replace(size=12) if access.key == "acme:query:a,b" else access
        for access in accesses
    ]


def test_a_trace_is_plain_gzipped_csv(tmp_path: Path) -> None:
    file = tmp_path / "keys.csv.gz"
    write_trace(file, [Access(5, "k", 1)])
    assert gzip.decompress(file.read_bytes()).decode().splitlines() == [
        "timestamp_ms,key,size",
        "5,k,1",
    ]


def test_another_file_is_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "other.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(ValueError, match="a trace begins with"):
        read_trace(file)
