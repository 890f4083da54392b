"""The store: the SQLite file, its rules, and the one thread that writes to it."""
