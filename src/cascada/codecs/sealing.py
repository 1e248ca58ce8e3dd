"""Payloads that only their tenant's key opens: AES-256-GCM (NIST SP 800-38D), by `cryptography`.

Every tenant has a random data key. It is stored wrapped, by a key of the operator's that no server
has (CACHE_ENCRYPTION_KEYS). What is sealed is bound to its place (`place`: namespace, layout and
key): copied to another key, tenant or namespace it does not open there.

    sealed payload   version 1, nonce 12, then ciphertext with its tag of 16
    wrapped key      id of the wrapping key: length 1, text; nonce 12, ciphertext with its tag

The nonce is made of place and payload by a keyed hash, whose key is derived from the data key. So
equal payloads of one key are sealed as equal bytes, and two processes that store the same value
still agree (`Entry.equals`). Who reads the bytes learns that a key's value is what it was before,
and nothing else. Two different payloads of one tenant share a nonce as rarely as two random ones:
one in 2^32 after 2^32 of them.

Nothing here knows a tier. Whoever seals holds the data keys (`tiers.sealed`). Neither keys nor
payloads are ever in a `repr` or an error.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, NoReturn

from cascada.model.door.wrapping import KEY_SIZE
from cascada.model.errors import CorruptEntry, MissingExtra

NONCE_SIZE: Final = 12
TAG_SIZE: Final = 16

MORE: Final = 1 + NONCE_SIZE + TAG_SIZE
"""Bytes that a sealed payload is larger by."""

_CIPHERS: Final = "cryptography.hazmat.primitives.ciphers.aead"
_VERSION: Final = b"\x01"
_SEALED: Final = b"cascada sealed 1\0"
_WRAPPED: Final = b"cascada data key 1\0"
_NONCES: Final = b"cascada nonces 1"
_DIGESTS: Final = b"cascada digests 1"


class DataKey:
    """The key of one tenant's values."""

    __slots__ = ("_cipher", "_digests", "_nonces", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = _cipher(secret)
        self._nonces = hmac.digest(secret, _NONCES, "sha256")
        self._digests = hmac.digest(secret, _DIGESTS, "sha256")

    @classmethod
    def new(cls) -> DataKey:
        return cls(os.urandom(KEY_SIZE))

    def seal(self, payload: bytes, place: bytes) -> bytes:
        """The payload, which opens at this place only."""
        bound = _SEALED + place
        nonce = hmac.digest(self._nonces, sha256(bound).digest() + payload, "sha256")[:NONCE_SIZE]
        sealed: bytes = self._cipher.encrypt(nonce, payload, bound)
        return b"".join((_VERSION, nonce, sealed))

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """What was sealed for this place by this key; CorruptEntry for everything else."""
        if sealed[:1] != _VERSION or len(sealed) < MORE:
            raise CorruptEntry("a sealed entry has a form that this version of cascada cannot read")
        try:
            return self._cipher.decrypt(  # type: ignore[no-any-return]  # it is bytes
                sealed[1 : 1 + NONCE_SIZE], sealed[1 + NONCE_SIZE :], _SEALED + place
            )
        except Exception:  # noqa: BLE001 - InvalidTag, which says nothing; a foreign length
            raise CorruptEntry(
                "an entry does not open: it was sealed for another key, tenant or namespace, by a "
                "data key that is gone, or it is damaged"
            ) from None

    def digest(self, digest: bytes) -> bytes:
        """Another digest in the place of one that was made without a key, of the same length: who
        reads that could try what it is of."""
        return hmac.digest(self._digests, digest, "sha256")[: len(digest)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataKey) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self._nonces)

    def __repr__(self) -> str:
        return "DataKey(...)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is neither pickled nor copied")


class KeyRing:
    """The operator's keys: the first one wraps, all of them unwrap."""

    __slots__ = ("_ciphers", "current")

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._ciphers = {name: _cipher(secret) for name, secret in secrets.items()}
        self.current = next(iter(secrets))

    def wrap(self, key: DataKey, owner: bytes) -> bytes:
        """The data key as it is stored, bound to its owner, a tenant of a namespace."""
        nonce, name = os.urandom(NONCE_SIZE), self.current.encode()
        bound = _WRAPPED + owner
        sealed: bytes = self._ciphers[self.current].encrypt(nonce, key._secret, bound)
        return b"".join((bytes((len(name),)), name, nonce, sealed))

    def unwrap(self, wrapped: bytes, owner: bytes) -> DataKey:
        """CorruptEntry if it is not this owner's, or its wrapping key is not at hand."""
        name = wrapping_key(wrapped)
        rest = wrapped[1 + len(name.encode()) :]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise CorruptEntry(
                f"a tenant's key is wrapped by {name!r}, which CACHE_ENCRYPTION_KEYS does not hold "
                "(put that key back, behind the others)"
            )
        try:
            secret = cipher.decrypt(rest[:NONCE_SIZE], rest[NONCE_SIZE:], _WRAPPED + owner)
        except Exception:  # noqa: BLE001 - InvalidTag, which says nothing; a foreign length
            raise CorruptEntry(
                f"a tenant's key does not open: it was wrapped by another key than {name!r} is "
                "now, for another tenant or namespace, or it is damaged"
            ) from None
        return DataKey(secret)

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._ciphers)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are neither pickled nor copied")


def wrapping_key(wrapped: bytes) -> str:
    """The id of the operator's key that wraps this one; "" of what is damaged."""
    name = wrapped[1 : 1 + wrapped[0]] if wrapped else b""
    return name.decode() if name.isascii() else ""


def require() -> None:
    """MissingExtra without `cryptography`. It is asked for before there is a key in any frame."""
    try:
        import_module(_CIPHERS)
    except ImportError as error:
        raise MissingExtra(
            "encryption needs cryptography; pip install cascada[encryption]"
        ) from error


def _cipher(secret: bytes) -> Any:
    return import_module(_CIPHERS).AESGCM(secret)
