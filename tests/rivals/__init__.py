"""Other libraries under the same checker: what each gives of old data, and to whom.

The checker of tests/chaos attacks a small surface that every library has in some form: read, load
what is missing, invalidate after a write. Each library is used as its own documents advise, on one
Redis that several processes share. `make rivals` (benchmarks/rivals.py) runs them all.

    adapters    each library behind the same four methods
    worker      one process of the attack
    trials      what is tried: races, kills, 500 callers, names with separators
"""
