"""Values to bytes and back, whatever they are: which codec, which flags, and what may be shared.

The promise: what `decode` gives is what `encode` was given, in value and in type (lists of floats
that are called vectors: to a relative error of 6e-8, unless `exact_floats`), or the value of the
declared `type`; anything else is refused with the path inside the value. Nothing is ever pickled.

    FLOATS    a list of floats that the caller calls a vector     codecs/floats.py
    ARRAY     an array or tensor                                  codecs/arrays.py
    MSGPACK   plain data, and values of a declared type           msgspec, codecs/typed.py
    EXTENDED  what msgpack lacks: tuple, set, Decimal, ...         codecs/extended.py
    CUSTOM    what a caller's serializer made: as MSGPACK or EXTENDED, never typed
"""

from __future__ import annotations

from typing import Any, Final, get_origin

import msgspec

from cascada.codecs import typed
from cascada.codecs.arrays import array_of_list, is_array, pack_array, unpack_array
from cascada.codecs.bounds import SCALARS, SHORT, check_packed, survey
from cascada.codecs.compression import compressed, decompressed, trimmed
from cascada.codecs.extended import decode, encode, extend
from cascada.codecs.fidelity import lost
from cascada.codecs.floats import pack_floats, unpack_floats
from cascada.codecs.hints import hint, name_of
from cascada.codecs.immutable import immutable
from cascada.codecs.shapes import Unstorable, locate
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.entry import UNSET, Codec, Flag
from cascada.model.errors import CorruptEntry, MissingExtra, SerializationError

# Looked up once: members of an enum class are slow to reach, and slower to calculate with.
_NOTHING: Final = Codec.NOTHING
_MSGPACK: Final = Codec.MSGPACK
_EXTENDED: Final = Codec.EXTENDED
_OF_PARTS: Final = (int(Codec.MSGPACK), int(Codec.EXTENDED), int(Codec.CUSTOM))
_ARRAY: Final = Codec.ARRAY
_FLOATS: Final = Codec.FLOATS
_CUSTOM: Final = Codec.CUSTOM
_MUTABLE: Final = (list, dict, set)
_NO_FLAGS: Final = Flag(0)
_COMPRESSED: Final = int(Flag.COMPRESSED)
_ENCRYPTED: Final = int(Flag.ENCRYPTED)
_CHANGED: Final = _COMPRESSED | _ENCRYPTED
_VECTOR_TYPES: Final = (None, list, list[float])


AS_ARRAY: Final = object()
"""As `type`: lists of numbers come as read-only arrays (MissingExtra without numpy). It is not what
a value is, but the form in which its reader wants it."""


class Encoded(msgspec.Struct, frozen=True):
    """A value as bytes. `value` is the decoded object if it may be shared, else UNSET."""

    data: bytes
    codec: Codec
    flags: Flag
    value: object


class ValueCodec:
    """How one cache encodes.

    compress_over: bytes from which on zstd is tried. max_decoded: the most bytes that an entry may
    decompress to. debug: every value is decoded and compared when it is encoded.
    """

    def __init__(
        self,
        *,
        compress_over: int = 4096,
        max_decoded: int = 32 * 1024 * 1024,
        debug: bool = False,
    ) -> None:
        self._compress_over = compress_over
        self._max_decoded = max_decoded
        self._debug = debug

    def encode(
        self,
        value: Any,
        *,
        type: Any = None,
        vectors: bool = False,
        exact_floats: bool = False,
    ) -> Encoded:
        """The value as bytes; SerializationError names the part that cannot be stored.

        type: what it comes back as. vectors: a list of floats is a vector.
        """
        wanted = None if type is Any or type is object else type
        if vectors and value.__class__ is list and value and wanted in _VECTOR_TYPES:
            floats = pack_floats(value, exact=exact_floats)
            if floats is not None:
                return Encoded(floats, _FLOATS, _NO_FLAGS, UNSET)
        if wanted is None or (is_array(value) and _is_array_type(wanted)):
            try:
                data, codec = _encode_untyped(value)
            except Exception as error:
                raise _refusal(value, error, _encode_untyped) from error
            shared: object = UNSET
            if value.__class__ in SCALARS:
                shared = value
            elif codec is not _MSGPACK:
                shared = _shared(value, data, codec)
            if self._debug and (where := lost(value, self.decode(data, codec, 0))) is not None:
                raise SerializationError(where)
        else:
            data, codec, shared = _encode_typed(value, wanted)
        if codec is not _ARRAY and self._compress_over <= len(data) <= self._max_decoded:
            smaller = compressed(data)
            if smaller is not None:
                return Encoded(smaller, codec, Flag.COMPRESSED, shared)
        # An array is of its exact size, and its shared value lies over these very bytes.
        return Encoded(data if codec is _ARRAY else trimmed(data), codec, _NO_FLAGS, shared)

    def decode(self, data: bytes, codec: int, flags: int, *, type: Any = None) -> Any:
        """The value; CorruptEntry for anything that does not decode to `type`."""
        try:
            if flags & _CHANGED:
                data = self._opened(data, flags)
            if codec in _OF_PARTS:
                if len(data) > SHORT:
                    check_packed(data)
                if type is None:  # the usual hit: nothing else may come before this
                    return decode(data)
                if type is not AS_ARRAY:
                    return _read_typed(data, codec, type)
            return _read(data, codec, type)
        except (CorruptEntry, MissingExtra):
            raise
        except Exception as error:  # noqa: BLE001 - see below
            # Foreign bytes meet a user's validators here: what they raise cannot be listed, and
            # may hold the value, so that it is not kept behind this.
            to = "" if type is None or type is AS_ARRAY else f" to {name_of(type)}"
            raise CorruptEntry(f"an entry does not decode{to}: {typed.reason(error)}") from None

    def declared(self, wanted: Any, what: str = "type") -> Any:
        """The type that a caller declared; BadInput if nothing could be decoded to it.

        Else whatever is stored would be a miss for ever, and silently.
        """
        try:
            if not (wanted is AS_ARRAY or wanted is Any or _is_array_type(wanted)):
                typed.form(wanted)
        except Exception as error:
            accepted = "a type that values can be decoded to, such as list[int] or a dataclass"
            if _is_type(wanted) and isinstance(error, TypeError):
                why = str(error).partition(" - type")[0]
                named = name_of(wanted)
                raise SerializationError(f"{what} is {named}: {why}; pass {accepted}") from error
            raise arguments.refused(what, wanted, accepted, SerializationError) from error
        return wanted

    def _opened(self, data: bytes, flags: int) -> bytes:
        if flags & _ENCRYPTED:
            raise CorruptEntry("an entry is encrypted, and no key is at hand")
        return decompressed(data, self._max_decoded)


def _encode_typed(value: Any, wanted: Any) -> tuple[bytes, Codec, object]:
    """Always decoded again: a value of another type would be a miss for ever, and silently."""
    try:
        form = typed.form(wanted)
    except TypeError as error:
        raise SerializationError(f"type={name_of(wanted)} cannot be decoded to: {error}") from error
    try:
        survey(value)
        data = form.encode(value)
        check_packed(data)
    except Exception as error:
        raise _refusal(value, error, form.encode) from error
    try:
        decoded = form.decode(data)
    except Exception as error:
        raise SerializationError(
            f"value does not fit type={name_of(wanted)}: "
            f"{typed.reason(error).replace('`$', '`value')}"
        ) from error
    codec, where = _MSGPACK, lost(value, decoded)
    if where is not None:
        in_parts = _in_parts(value, form)
        if in_parts is None:
            raise SerializationError(where)
        data, decoded, codec = *in_parts, _EXTENDED
    return data, codec, decoded if immutable(decoded) else UNSET


def _shared(value: Any, data: bytes, codec: Codec) -> object:
    """The decoded object, if nobody can change it, else UNSET."""
    if codec is _ARRAY:
        # One over the entry's own bytes; the lists that are made without numpy are not shared.
        decoded = unpack_array(data)
        return UNSET if decoded.__class__ is list else decoded
    if value.__class__ in _MUTABLE:
        return UNSET
    # What decoding gives, not the value: it may hold a zone or an id of another class.
    decoded = decode(data)
    return decoded if immutable(decoded) else UNSET


def _in_parts(value: Any, form: typed.Form) -> tuple[bytes, Any] | None:
    """The second way, for what would lose by the first; None if it loses all the same."""
    try:
        data = encode(extend(typed.parts_of(value)))
        check_packed(data)
        decoded = form.from_parts(decode(data))
    except Exception:  # noqa: BLE001 - a model may raise anything; what is wrong is known already
        return None
    return (data, decoded) if lost(value, decoded) is None else None


def _encode_untyped(value: Any) -> tuple[bytes, Codec]:
    try:
        if value.__class__ in SCALARS or survey(value):
            return encode(value), _MSGPACK
    except OverflowError:  # an int beyond 64 bits
        pass
    if is_array(value):
        return pack_array(value), _ARRAY
    data = encode(extend(value))
    check_packed(data)
    return data, _EXTENDED


def _read(data: bytes, codec: int, wanted: Any) -> Any:
    """What is not msgpack, or is wanted as an array."""
    as_array = wanted is AS_ARRAY
    if as_array:
        wanted = None
    if codec == _FLOATS:
        value = unpack_floats(data, as_array=as_array)
        return value if as_array or wanted in _VECTOR_TYPES else msgspec.convert(value, wanted)
    if codec == _ARRAY:
        value = unpack_array(data)
        kind = get_origin(wanted) or wanted
        fits = wanted in (None, Any) or (isinstance(kind, type) and isinstance(value, kind))
        if not fits:
            raise CorruptEntry(f"an array was stored, {name_of(wanted)} is asked for")
    elif codec in _OF_PARTS:
        value = decode(data)
    elif codec == _NOTHING and not data:
        return None
    else:
        raise CorruptEntry(f"an entry has codec {codec} and {len(data)} bytes")
    return array_of_list(value) if as_array and value.__class__ is list else value


def _read_typed(data: bytes, codec: int, wanted: Any) -> Any:
    if codec == _CUSTOM:
        return decode(data)
    form = typed.form(wanted)
    return form.from_parts(decode(data)) if codec == _EXTENDED else form.decode(data)


def _is_type(wanted: Any) -> bool:
    """Whether it is a class or what `typing` makes of classes, whose text runs no other code."""
    kind = type(wanted)
    return issubclass(kind, type) or kind.__module__ in ("typing", "types")


def _is_array_type(wanted: Any) -> bool:
    return getattr(get_origin(wanted) or wanted, "__name__", None) == "ndarray"


def _refusal(value: object, error: Exception, attempt: Any) -> SerializationError:
    """The sentence about a value that could not be encoded."""
    try:
        path, part, wrong = locate(value, error, attempt)
        return SerializationError(f"{path} {_what_is_wrong(part, wrong)}")
    except Exception:  # noqa: BLE001 - it is found by looking into the value, whose code may raise
        return SerializationError(f"value is {shown(value)}, and raises when it is looked into")


def _what_is_wrong(part: object, wrong: Exception) -> str:
    match wrong:
        case Unstorable():
            return str(wrong)
        case CorruptEntry():
            return f"is too large to be read again: {wrong}"
        case UnicodeEncodeError():
            return "is a str with a lone surrogate, which is no character; pass it as bytes"
        case OverflowError():
            return "is an int beyond 64 bits, which no declared type holds; leave type= out"
        case TypeError() | NotImplementedError():
            return hint(part)
    # What a codec has against it; of what a user's own code raised, which may hold it, the class.
    kind = type(wrong)
    of_codec = kind.__module__.partition(".")[0] in ("msgspec", "pydantic", "pydantic_core")
    said = f"{kind.__name__}: {wrong}" if of_codec else kind.__name__
    return f"cannot be stored: {said}; pass a serializer"
