"""What released versions stored is read today, and today's bytes are the same."""

from typing import Any

import numpy
import pytest

from cascada.codecs.envelope import pack, stamps_of, unpack
from cascada.model.entry import Codec, Flag
from tests.golden import make
from tests.golden.make import ABSENCE, CASES, CODEC, CREATED, EXPIRES, FOLDER, FRESH, HOME, STAMPS


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.bin").read_bytes()


def same(one: Any, other: Any) -> bool:
    """Equal in type and value; arrays in dtype, shape and items."""
    if type(one) is not type(other):
        return False
    if isinstance(one, numpy.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same([*one.values()], [*other.values()])
    return bool(one == other)


def test_every_file_has_a_case_and_every_case_a_file() -> None:
    assert {path.stem for path in FOLDER.glob("*.bin")} == {"absence", *CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_stored_entry_is_read(name: str) -> None:
    case = CASES[name]
    entry, stamps = unpack(stored(name), HOME), stamps_of(stored(name))
    value = CODEC.decode(entry.data, entry.codec, entry.flags, type=case.how.get("type"))
    assert same(value, case.value)
    facts = {"created": CREATED, "fresh_until": FRESH, "expires": EXPIRES, **case.entry}
    assert {fact: getattr(entry, fact) for fact in facts} == facts
    assert stamps == case.stamps


@pytest.mark.parametrize("name", ["absence", *CASES])
def test_todays_envelope_is_the_same(name: str) -> None:
    entry, stamps = unpack(stored(name), HOME), stamps_of(stored(name))
    assert pack(entry, HOME, stamps) == stored(name)


# Another version of zstd may compress otherwise; what it makes is still read.
@pytest.mark.parametrize("name", [name for name in CASES if name != "compressed"])
def test_todays_bytes_are_the_same(name: str) -> None:
    assert make.packed(CASES[name]) == stored(name)


def test_a_stored_absence_is_read() -> None:
    entry, stamps = unpack(stored("absence"), HOME), stamps_of(stored("absence"))
    assert entry.codec == Codec.NOTHING
    assert entry.flags == Flag.ABSENT | Flag.GENERATOR_ASKED
    assert CODEC.decode(entry.data, entry.codec, entry.flags) is None
    assert (entry.created, stamps) == (ABSENCE.created, STAMPS)


def test_a_golden_file_is_never_written_again(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make, "FOLDER", tmp_path)
    (tmp_path / "plain.bin").write_bytes(b"what an old version wrote")
    assert make.main() == 1
    assert (tmp_path / "plain.bin").read_bytes() == b"what an old version wrote"
    assert (tmp_path / "tuple.bin").read_bytes() == stored("tuple")
    assert "plain.bin is not what is written today" in capsys.readouterr().err
