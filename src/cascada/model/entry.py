"""What a tier holds, and what a read answers.

An `Entry` is the encoded value with what is known about it; tiers pass it on without looking into
its payload. A caller sees a `Hit` or a `Miss`.
"""

from __future__ import annotations

import math
from enum import IntEnum, IntFlag
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, final

import msgspec

from cascada.model.bills.bill import UNKNOWN, Bill
from cascada.model.keys import Key
from cascada.model.policy import CachePriority

T_co = TypeVar("T_co", covariant=True)

MEMORY: Final = "l1"
"""The name of this process's own tier. Shared ones (l2, l3) say theirs themselves."""

SOURCE: Final = "source"
"""In the place of a tier's name: an answer of the caller's own loader."""


@final
class Unset:
    """The type of `UNSET`: no decoded value is at hand (None is a value)."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()


class Flag(IntFlag):
    """Facts about an entry that its header carries; bits are never given a second meaning.

    The high byte of the flags is a number, the version of the policy that it was written under.
    """

    ABSENT = 1  # the loader said that there is nothing
    GENERATOR_ASKED = 2  # ... and so did the generator
    COMPRESSED = 4  # payload is zstd
    ENCRYPTED = 8  # payload is sealed (`codecs.sealing`)
    VERSIONED = 16  # the header holds the writer's version
    COSTED = 32  # before the payload it is said what its load took
    PRIORITY_1 = 64  # with the next one a number: the priority less NORMAL, so that NORMAL is 0
    PRIORITY_2 = 128


_PRIORITY: Final = int(Flag.PRIORITY_1 | Flag.PRIORITY_2)


def priority_bits(priority: CachePriority | None) -> int:
    """How the flags say a priority; None is NORMAL."""
    return (
        0 if priority is None else (priority - CachePriority.NORMAL) * Flag.PRIORITY_1 & _PRIORITY
    )


_PRIORITIES: Final = {priority_bits(each): each for each in CachePriority}


class Codec(IntEnum):
    """How the payload is encoded; numbers are never given a second meaning."""

    NOTHING = 0
    MSGPACK = 1
    EXTENDED = 2  # msgpack with extension types for tuple, set, Decimal, ...
    ARRAY = 3  # dtype, shape, raw bytes
    FLOATS = 4  # a list of floats as raw float32 or float64
    CUSTOM = 5  # bytes that the caller's own serializer made, as msgpack
    ASIDE = 6  # in Redis: where the payload lies, since it is large (`tiers.redis.large_payloads`)


class Entry:
    """One stored value.

    `created`, `fresh_until` and `expires` are wall-clock seconds of the tier that stored it;
    between `fresh_until` and `expires` the value is stale: it may be served while it is refreshed.
    `math.inf` is never. `names` are the dynamic names only. `value` is the decoded object, and
    only if it may be shared between callers. `cost` is what its load took (`bills.bill`).
    """

    __slots__ = (
        "codec",
        "cost",
        "created",
        "data",
        "expires",
        "flags",
        "fresh_until",
        "names",
        "value",
        "version",
    )

    def __init__(
        self,
        data: bytes,
        codec: int = Codec.MSGPACK,
        flags: int = 0,
        created: float = 0.0,
        fresh_until: float = math.inf,
        expires: float = math.inf,
        names: tuple[str, ...] = (),
        version: int | None = None,
        value: object = UNSET,
        cost: int = UNKNOWN,
    ) -> None:
        self.data = data
        self.codec = codec
        self.flags = flags
        self.created = created
        self.fresh_until = fresh_until
        self.expires = expires
        self.names = names
        self.version = version
        self.value = value
        self.cost = cost

    @property
    def lifetime(self) -> float:
        """Seconds for which it is fresh, from when it was loaded."""
        return self.fresh_until - self.created

    @property
    def priority(self) -> CachePriority:
        """How willingly it is given up; NORMAL where nobody has said."""
        return _PRIORITIES[self.flags & _PRIORITY]

    @property
    def is_nothing(self) -> bool:
        """Whether it is what `nothing` makes: to store it is to store nothing."""
        return self.codec == Codec.NOTHING and self.expires <= self.created

    def nothing(self) -> Entry:
        """What a tier is filled with that is passed over: what is there goes, and nothing comes."""
        flags, now = int(Flag.ABSENT) | self.flags & ~0xFF, self.created
        return Entry(b"", Codec.NOTHING, flags, now, now, now, self.names, self.version)

    def equals(self, other: Entry) -> bool:
        """Whether both say the same, whenever they were written, however long they live, and
        whatever they cost."""
        return (
            (self.codec, self.flags, self.version) == (other.codec, other.flags, other.version)
            and self.names == other.names
            and self.data == other.data
        )

    def shorter_lived(self, other: Entry) -> Entry:
        """This one or an equal one: which is stale earlier."""
        mine, others = (self.fresh_until, self.expires), (other.fresh_until, other.expires)
        return other if others < mine else self

    def ending(self, moment: float) -> Entry:
        """The same, gone at that moment at the latest."""
        return self.lasting(min(self.fresh_until, moment), min(self.expires, moment))

    def lasting(self, fresh_until: float, expires: float) -> Entry:
        """The same, with another life."""
        return Entry(
            self.data,
            self.codec,
            self.flags,
            self.created,
            fresh_until,
            expires,
            self.names,
            self.version,
            self.value,
            self.cost,
        )

    def __repr__(self) -> str:
        return (
            f"Entry({len(self.data)} B, created={self.created}, "
            f"fresh_until={self.fresh_until}, expires={self.expires})"
        )


class Origin(NamedTuple):
    """What an answer was read as: its key, the names that it bears, the bytes of its value, for how
    many seconds it is fresh from when it was loaded, and what its load took.

    A hit in memory has the record itself in its place, which has the same.
    """

    key: Key
    names: tuple[str, ...]
    data: bytes
    lifetime: float
    cost: int = UNKNOWN

    def __repr__(self) -> str:
        return f"Origin({self.key.text}, {len(self.data)} B, lifetime={self.lifetime})"


class Hit(msgspec.Struct, Generic[T_co], frozen=True, gc=False, repr_omit_defaults=True):
    """An answer.

    `value` is the caller's own, unless it is immutable or its policy shares it. `tier` says where
    it came from; `age` is the seconds since it was loaded; `stale` that it is past its ttl (never
    that it was invalidated); `coalesced` that another caller's load brought it. `key` says which
    value it is, and `origin` as what it was read, for what is made of it (`sources=[hit]`).
    `absent`: it is known that there is nothing, which is falsy, as a `Miss` is, and has what it has
    seen in a `snapshot` like it; every other hit is true.
    """

    value: T_co
    tier: str
    age: float = 0.0
    stale: bool = False
    coalesced: bool = False
    origin: Any = None
    absent: bool = False
    snapshot: object = None

    @property
    def key(self) -> Key | None:
        """Where the value is stored."""
        return None if self.origin is None else self.origin.key

    @property
    def ttl(self) -> float | None:
        """Seconds for which the tier's value goes on being fresh, from when it was answered; None
        of a stale value, and of one that its source has just brought."""
        if self.tier == "source" or self.stale or self.origin is None:
            return None
        return max(0.0, float(self.origin.lifetime) - self.age)

    @property
    def cost(self) -> Bill | None:
        """What the load that brought the value took, in whatever process: a hit has saved that.
        None of a value that no load has brought."""
        if self.origin is None or self.origin.cost == UNKNOWN:
            return None
        return Bill.of(self.origin.cost)

    # Answers are equal if they say the same, wherever it came from.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hit) and self._said == other._said

    def __hash__(self) -> int:
        return hash(self._said)

    @property
    def _said(self) -> tuple[object, ...]:
        return self.value, self.tier, self.age, self.stale, self.coalesced, self.absent

    def __bool__(self) -> bool:
        return not self.absent


@final
class Miss:
    """There is no value. It is falsy; `value` is what was given as `default`, else None.

    `tier`, `stale` and `cost` are there as in a `Hit`, for who logs answers of both kinds. It
    remembers what the tiers have answered, so that `fill` can tell whether what its caller has made
    since is still good.
    """

    __slots__ = ("snapshot", "value")
    absent: Final = False
    tier: Final = None
    stale: Final = False
    cost: Final = None

    def __init__(self, value: Any = None, snapshot: object = None) -> None:
        self.value = value
        self.snapshot = snapshot

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "Miss()" if self.value is None else f"Miss({self.value!r})"


class Invalidated(msgspec.Struct, frozen=True):
    """What an invalidation did: `keys` entries went (at most that many, if not `exact`).

    `pending`: it is durable, but has not reached every tier yet; it will without further ado.
    """

    keys: int
    exact: bool = True
    pending: bool = False
