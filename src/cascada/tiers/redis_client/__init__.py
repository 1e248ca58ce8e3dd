"""A client of Redis over hiredis: one server, its connections, and what may come back on them.

The Redis tier sends its commands through it. It knows no cache: neither keys nor entries.
"""
