"""Reads a lake as strangers do and prints what it found as JSON."""

import glob
import json
import sys

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq

PROOF = """
SELECT origin, count(*) AS rows, max(ordinal) + 1 AS numbered, count(DISTINCT ordinal) AS distinct_ordinals
FROM read_parquet([{globs}])
GROUP BY origin
HAVING count(*) <> max(ordinal) + 1 OR count(*) <> count(DISTINCT ordinal)
"""


def by_duckdb(lake, root, table, id_column):
    files = f"'{lake}/{root}/{table}/**/*.parquet'"
    rows, ids, origins = duckdb.sql(
        f"SELECT count(*), count(DISTINCT {id_column}), count(DISTINCT origin) FROM read_parquet({files})"
    ).fetchall()[0]
    types = duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet({files}, hive_partitioning = false)").fetchall()
    misplaced = 0
    if table == "events":
        misplaced = duckdb.sql(
            "SELECT count(*) FROM (SELECT regexp_extract(filename, 'event_date=([0-9-]+)', 1) AS folder_day,"
            f" strftime(created_at AT TIME ZONE 'UTC', '%Y-%m-%d') AS created_on FROM read_parquet({files}, filename = true,"
            " hive_partitioning = false)) WHERE folder_day <> created_on"
        ).fetchall()[0][0]
    return {
        "rows": rows,
        "ids": ids,
        "origins": origins,
        "misplaced": misplaced,
        "types": {name: kind for name, kind, *_ in types},
    }


def by_pyarrow(lake, root, table, id_column):
    paths = sorted(glob.glob(f"{lake}/{root}/{table}/**/*.parquet", recursive=True))
    rows, ids, kinds = 0, set(), {}
    for path in paths:
        read = pq.ParquetFile(path).read()
        rows += read.num_rows
        ids.update(read.column(id_column).to_pylist())
        kinds = {field.name: str(field.type) for field in read.schema}
        assert read.column("ordinal").null_count == 0 and (pc.min(read.column("ordinal")).as_py() or 0) >= 0
    return {"rows": rows, "ids": len(ids), "types": kinds}


def main(lake):
    duckdb.sql("SET TimeZone = 'UTC'")
    found = {}
    for table, id_column in (("events", "event_id"), ("quarantine", "quarantine_id")):
        for root in ("live", "final"):
            found[f"{root}/{table}"] = {
                "duckdb": by_duckdb(lake, root, table, id_column),
                "pyarrow": by_pyarrow(lake, root, table, id_column),
                "proof": duckdb.sql(PROOF.format(globs=f"'{lake}/{root}/{table}/**/*.parquet'")).fetchall(),
            }
    print(json.dumps(found))


main(sys.argv[1])
