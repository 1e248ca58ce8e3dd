"""The checker: real processes attack the public API over a versioned source of truth.

It looks from outside: whatever happens inside, no read may give a version that is older than the
newest one whose invalidation had returned when the read began. `docs/coherence.md` says what is
promised, `python -m tests.chaos --help` how to run it.

    truth       the versions of all rows, shared by all processes, and when each was due
    board       what parent and workers tell each other: phases, counters, requests for traces
    keyspace    which keys there are, what they bear, and who may write them
    loaders     the slow, failing source that the cache stands before
    witness     judges every read, and writes down what was wrong
    once        whether a lease had two loads
    actions     the operations on one key; groups: the operations on many
    workload    how often what is done
    worker      one process
    fleet       all of them, started, stopped and killed
    faults      what is done to the fleet and to what it stands on
    configs     which tiers are attacked, and what they promise
    campaign    one run: rounds of attack, quiet and audit
    report      what was seen, as tables
    mutants     the protocol less one rule: what the checker must catch
"""
