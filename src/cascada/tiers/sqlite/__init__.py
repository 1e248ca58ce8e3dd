"""The database tier (L3) on SQLite: durable, shared by the processes of one machine.

tier         the tier, with its calls in the order of the contract
schema       the tables, and how a file is recognised and renewed
connection   a connection that finds its way back to the file
worker       the threads, transactions and group commits
reads        read and the feed, each from one snapshot
writes       fill and invalidate, inside a write transaction
transaction  what a write transaction knows and changes
load_turns   which process loads a key
maintenance  eviction, the sweep of old tombstones (and `forgetting`, of tenants)
outbox       what a tier above could not be told
inspect      what is stored, valid or not, for people who ask why
forks        what open tiers do around a fork
datastore    lists and counters, which are no cache
"""
