"""What a fill stores: memory and the database decide it here, and do it themselves.

Redis must decide alike, in `redis_scripts/fill`. (`docs/protocol.md` rules 2 to 7.)
"""

from __future__ import annotations

from cascada.model.entry import Entry
from cascada.tiers.contract import Lease, Outcome


def decided(
    lease: Lease, entry: Entry, there: Entry | None, *, stands: bool, now: float
) -> tuple[Entry | None, Outcome]:
    """What is stored under this lease (None: nothing), and what is said of that.

    `there` is the valid entry of its key, `stands` whether nothing was named since the lease.
    """
    if lease.once:
        kept = there is not None and not lease.may_replace(there)
        return (entry if stands and not kept else None), Outcome.PLAIN
    if stands or not lease.forced:
        return (entry if stands else None), Outcome.PLAIN
    # A void set leaves nothing: its caller may have written the row, so that what is here may be
    # old. Not if it is equal: then both say the same of the row, and crossing sets would else leave
    # nothing at all.
    if there is None:
        return None, Outcome.NOTHING
    if there.fresh_until > now and there.equals(entry):
        return there.shorter_lived(entry), Outcome.EQUAL
    return None, Outcome.PLAIN
