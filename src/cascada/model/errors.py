"""Every error that cascada raises on purpose, under one root.

    CascadaError
    ├── BadInput                 what the caller passed is wrong; the text names the value
    │   ├── MissingTenant        no tenant, where one is mandatory
    │   ├── MissingContext       a context part (agent, conversation, ...) that was asked for
    │   ├── InvalidKey           a tenant, type, id or tag that cannot be part of a key
    │   ├── InvalidTTL           a time to live that is not a duration
    │   ├── InvalidPolicy        a policy whose fields contradict each other
    │   ├── Misuse               no value would do: a coroutine for a function, no parentheses
    │   ├── InvalidSettings      an environment variable with a value it may not hold
    │   └── SerializationError   a value that cannot be stored; names the path inside it
    ├── CorruptEntry             stored bytes that cannot be read (of an entry: a miss)
    ├── TierUnavailable          a tier that did not answer
    │   ├── Unanswered           it was sent, so that nobody knows whether it was carried out
    │   └── InvalidationPending  an invalidation that only this process's memory holds so far
    ├── LoadError
    │   ├── LoadTimeout          a loader that took longer than `load_timeout`
    │   ├── LoadCycle            a loader that waits, directly or not, for its own result
    │   └── SourceBusy           `max_loads` loads run already, and waiting did not help
    ├── MissingExtra             an optional package that the call needs
    ├── WrongLoop                a cache used on a second event loop while the first is open
    └── CacheClosed              a cache used after `aclose()`

`BadInput` is a `ValueError` too, `Misuse` a `TypeError` as well, `MissingExtra` an `ImportError`,
`LoadTimeout` a `TimeoutError`.
"""

from __future__ import annotations


class CascadaError(Exception):
    """The root: `except CascadaError` catches all that cascada raises on purpose."""


class BadInput(CascadaError, ValueError):
    """What the caller passed is wrong; nothing was read, stored or lost."""


class MissingTenant(BadInput):
    """No tenant was given, and neither the context nor CASCADA_TENANT names one."""


class MissingContext(BadInput):
    """A part of the context that the function asks for is not there."""


class InvalidKey(BadInput):
    """A tenant, data type, id or tag that cannot be part of a key."""


class InvalidTTL(BadInput):
    """A time to live that is negative, not a number, or a bool."""


class InvalidPolicy(BadInput):
    """A policy whose fields are out of range or contradict each other."""


class Misuse(BadInput, TypeError):
    """A call that no other value of the same kind would put right."""


class InvalidSettings(BadInput):
    """An environment variable holds a value that it may not hold."""


class SerializationError(BadInput):
    """A value that cannot be stored exactly; the text names the path inside the value."""


class CorruptEntry(CascadaError):
    """Stored bytes that are damaged, truncated, of an unknown version or of another type.

    Raised by the codecs. Whoever reads an entry turns it into a counted miss; items of a list and
    counters cannot be loaded again, so there it reaches the caller.
    """


class TierUnavailable(CascadaError):
    """A tier did not answer in time, or refused the connection."""


class Unanswered(TierUnavailable):
    """It was sent, and no answer came: nobody knows whether it was carried out.

    Any other TierUnavailable of a list or a counter says that nothing was changed.
    """


class InvalidationPending(TierUnavailable):
    """The invalidation has not reached a shared tier yet; it is retried until it has.

    This process no longer serves the old value; another one may until then.
    """


class LoadError(CascadaError):
    """A load could not be run; what a loader itself raises is passed on as it is."""


class LoadTimeout(LoadError, TimeoutError):
    """A loader took longer than the cache's `load_timeout`."""


class LoadCycle(LoadError):
    """A loader waits, directly or through other loaders, for its own result."""


class SourceBusy(LoadError):
    """As many loads as allowed run already, and none ended within `load_wait`."""


class MissingExtra(CascadaError, ImportError):
    """An optional package is needed for this call; the text says which extra to install."""


class WrongLoop(CascadaError, RuntimeError):
    """A cache belongs to one event loop at a time, and that one is still open."""


class CacheClosed(CascadaError, RuntimeError):
    """The cache was closed with `aclose()`."""
