"""Into a fresh store: rows as a damaged one had them, where they fit."""

import sqlite3
from functools import lru_cache

from leanbase_relay.store.damage import is_of_the_disk
from leanbase_relay.store.pages import Row
from leanbase_relay.store.totals import HIGHEST_ID


class Into:
    """A table of the fresh store, which takes rows as the damaged one had them."""

    def __init__(self, conn: sqlite3.Connection, table: str) -> None:
        self._conn = conn
        self._table = table
        # Migrations only ever add columns behind the others, so that a row with fewer
        # values is one of an earlier version, and the defaults are right for the rest.
        rows = conn.execute("select name from pragma_table_info(?)", (table,))
        self._columns = [name for (name,) in rows]
        self._any_id = table == "known_id"  # it is a hash; others count from 1 on
        self._insert = lru_cache(self._statement)

    def keep(self, row: Row) -> bool:
        """Insert it, unless its id is taken or it does not fit.

        Raises:
            sqlite3.Error: the disk does not let us.
        """
        values = row.values[: len(self._columns)]
        if not values:
            return False
        if row.rowid is not None:  # SQLite leaves the place of the id empty
            if not (self._any_id or is_id(row.rowid)):
                return False
            values = (row.rowid, *values[1:])
        try:
            done = self._conn.execute(self._insert(len(values)), values)
        except sqlite3.Error as error:
            if is_of_the_disk(error):
                raise
            return False  # a value of another type, or whatever else it is that ails it
        return done.rowcount == 1

    def _statement(self, values: int) -> str:
        columns = ", ".join(self._columns[:values])  # names of our own schema
        places = ", ".join("?" * values)
        return f"insert or ignore into {self._table} ({columns}) values ({places})"  # noqa: S608


def is_id(number: int | None) -> bool:
    """Whether a row may have it, of the tables that give them from 1 on."""
    return number is not None and 0 < number < HIGHEST_ID
