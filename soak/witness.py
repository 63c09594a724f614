"""A second book of what publishes change: the database notes it itself, in the transaction that does it.

What `corrections` lacks, or has too much, can't be told from `corrections` alone. A kill takes both books or neither.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

from psycopg import sql

from perpflow.datasets import DATASETS, PROVENANCE
from perpflow.specs import DatasetSpec
from perpflow.store.database import Connection, session
from tests.loading import rows

#: Of dataset, symbol, series, time, and the values as JSON text before and after.
Change = tuple[str, str, str, datetime, str, str]

#: A value that the archive had given and that is another now; one that was not there before is no correction. The rows
#: of a hypertable are in tables with other names, so the dataset is an argument.
NOTED = """
CREATE TABLE IF NOT EXISTS soak_changed (
    dataset text NOT NULL, symbol text NOT NULL, series text NOT NULL, time timestamptz NOT NULL,
    old_row jsonb NOT NULL, new_row jsonb NOT NULL
);
CREATE OR REPLACE FUNCTION soak_witness() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    others  text[] := ARRAY(SELECT jsonb_array_elements_text(TG_ARGV[2]::jsonb));
    old_row jsonb  := to_jsonb(OLD) - others;
    new_row jsonb  := to_jsonb(NEW) - others;
BEGIN
    INSERT INTO soak_changed
    SELECT TG_ARGV[0], NEW.symbol, coalesce(to_jsonb(NEW) ->> 'timeframe', TG_ARGV[1]), NEW.time, old_row, new_row
    WHERE EXISTS (SELECT FROM jsonb_each(old_row) o JOIN jsonb_each(new_row) n USING (key)
                  WHERE o.value <> 'null' AND n.value <> o.value);
    RETURN NULL;
END $$
"""
WATCHED = """
CREATE TRIGGER soak_witness AFTER UPDATE ON {table} FOR EACH ROW
WHEN (OLD.source = 'archive' AND NEW.source = 'archive') EXECUTE FUNCTION soak_witness({dataset}, {series}, {others})
"""


def witness(url: str) -> None:
    """Have a migrated database note from now on what publishes change of what the archive had given."""
    with session(url) as connection:
        connection.execute(NOTED)
        for spec in DATASETS.values():
            _watch(connection, spec)


def _watch(connection: Connection, spec: DatasetSpec) -> None:
    others = [*spec.key, *(column.name for column in PROVENANCE)]
    statement = sql.SQL(WATCHED).format(
        table=sql.Identifier(spec.name),
        dataset=sql.Literal(spec.name),
        series=sql.Literal("" if spec.series_in_key else spec.series_of_rows),
        others=sql.Literal(json.dumps(others)),
    )
    connection.execute(statement)


def changes(connection: Connection) -> Counter[Change]:
    """What the witness saw, and how often each."""
    return _counted(connection, "soak_changed")


def corrections(connection: Connection) -> Counter[Change]:
    """What stands in `corrections`, and how often each."""
    return _counted(connection, "corrections")


def _counted(connection: Connection, table: str) -> Counter[Change]:
    columns = "dataset, symbol, series, time, old_row::text, new_row::text"
    found: list[Any] = rows(connection, f"SELECT {columns} FROM {table}")  # noqa: S608  one of our own names
    return Counter(found)
