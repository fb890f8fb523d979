"""Load the registry into the store, where the marts join it."""

from __future__ import annotations

from dataclasses import astuple, fields

from psycopg import sql

from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.registry.planner_symbols import Feeder, feeders
from coinswarm.storage.database import Session


def load(conn: Session) -> dict[str, int]:
    """Replace `ops.instruments` and `ops.planner_symbols` by the registry's rows, in one transaction, as the owner.

    Returns:
        Rows per table.
    """
    tables = {
        "instruments": ([field.name for field in fields(Instrument)], [astuple(i) for i in INSTRUMENTS]),
        "planner_symbols": ([field.name for field in fields(Feeder)], [astuple(feeder) for feeder in feeders()]),
    }
    with conn.transaction(), conn.cursor() as cursor:
        for table, (columns, rows) in tables.items():
            target = sql.Identifier("ops", table)
            cursor.execute(sql.SQL("DELETE FROM {}").format(target))
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                target, sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
    return {table: len(rows) for table, (_, rows) in tables.items()}
