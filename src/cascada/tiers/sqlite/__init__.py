"""The database tier (L3) on SQLite: durable, shared by the processes of one machine."""
