"""What a process that cannot import numpy and zstandard writes and reads."""

import subprocess
import sys
from typing import Any

import numpy

from tests.codecs.samples import CODEC

BARE = """
import sys
sys.modules["numpy"] = sys.modules["zstandard"] = None   # importing them fails

from cascada.codecs.values import AS_ARRAY, ValueCodec
from cascada.model.entry import Codec, Flag
from cascada.model.errors import CorruptEntry, MissingExtra
CODEC = ValueCodec()
def decode(text, codec, flags=0, **how):
    return CODEC.decode(bytes.fromhex(text), codec, flags, **how)
def told(error, call, *args, **how):
    try:
        call(*args, **how)
    except error as raised:
        return str(raised)
    raise AssertionError("nothing was raised")
"""


def bare(script: str, *arguments: str) -> str:
    said = subprocess.run(
        [sys.executable, "-c", BARE + script, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def hexadecimal(value: Any, **how: Any) -> str:
    return CODEC.encode(value, **how).data.hex()


def test_a_compressed_entry_is_corrupt_and_says_which_extra_reads_it() -> None:
    said = bare(
        "print(told(CorruptEntry, decode, sys.argv[1], 1, Flag.COMPRESSED))",
        hexadecimal("a" * 5000),
    )
    assert "cascada[zstd]" in said


def test_large_values_are_stored_as_they_are() -> None:
    assert bare("e = CODEC.encode('a' * 5000); print(len(e.data), int(e.flags))") == "5003 0"


def test_arrays_come_as_nested_lists() -> None:
    for dtype in ("b1", "i1", "u2", ">i4", "<f2", "f4", ">f8"):
        array = numpy.arange(6).reshape(2, 3).astype(dtype)
        said = bare("print(decode(sys.argv[1], Codec.ARRAY))", hexadecimal(array))
        assert said == str(array.tolist())
    assert bare("print(decode(sys.argv[1], 3))", hexadecimal(numpy.array(5))) == "5"
    assert bare("print(decode(sys.argv[1], 3))", hexadecimal(numpy.zeros((2, 0)))) == "[[], []]"


def test_arrays_that_only_numpy_reads_are_corrupt() -> None:
    for array in (numpy.array(["a"]), numpy.array([1j])):
        bare("told(CorruptEntry, decode, sys.argv[1], Codec.ARRAY)", hexadecimal(array))


def test_vectors_work_as_lists() -> None:
    script = """
encoded = CODEC.encode([0.5, 1.5], vectors=True)
assert encoded.codec is Codec.FLOATS
assert CODEC.decode(encoded.data, encoded.codec, 0) == [0.5, 1.5]
assert "cascada[numpy]" in told(MissingExtra, CODEC.decode, encoded.data, 4, 0, type=AS_ARRAY)
assert "cascada[numpy]" in told(MissingExtra, decode, "910a", 1, type=AS_ARRAY)
"""
    bare(script)


def test_an_array_of_another_library_is_stored_and_not_shared() -> None:
    script = """
class Array:
    dtype, shape = "<f4", (2,)
    def tobytes(self): return bytes.fromhex("0000803f00000040")
encoded = CODEC.encode(Array())
print(encoded.codec.name, encoded.value, CODEC.decode(encoded.data, encoded.codec, 0))
"""
    assert bare(script) == "ARRAY UNSET [1.0, 2.0]"


def test_the_codecs_load_nothing_optional() -> None:
    script = """
import sys, cascada.codecs.values, cascada.codecs.envelope, cascada.codecs.digest
import cascada.codecs.public
optional = {"numpy", "zstandard", "pydantic", "torch", "tensorflow", "cryptography", "pickle"}
print(sorted(optional & set(sys.modules)))
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
