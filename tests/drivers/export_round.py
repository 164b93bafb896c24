"""Reads exported records as an auditor does: with pyarrow and DuckDB, and with Python's own readers of CSV and JSON."""
import csv
import json
import sys

import duckdb
import pyarrow.parquet as pq

parquet, comma, lines = sys.argv[1:4]
csv.field_size_limit(1 << 30)

table = pq.read_table(parquet)
print("pyarrow", table.num_rows, sum(1 for text in table["text"].to_pylist() if text == "SELECT '=1+1'"))
query = "SELECT count(*), count(*) FILTER (text = 'SELECT ''=1+1'''), min(time) IS NOT NULL FROM read_parquet(?)"
print("duckdb", *duckdb.connect().execute(query, [parquet]).fetchone())
with open(comma, newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file, strict=True))
print("csv", len(rows), sum(1 for row in rows if row["text"] == "SELECT '=1+1'"))
with open(lines, encoding="utf-8") as file:
    objects = [json.loads(line) for line in file]
texts = [object.get("query_info", {}).get("query_string") for object in objects]
print("ocsf", len(objects), sum(1 for text in texts if text == "SELECT '=1+1'"))

# What follows from a text is the same in each.
WANTED = "SELECT '=1+1'"
columns = zip(*(table[name].to_pylist() for name in ("text", "tables", "fingerprint")))
of_parquet = [(tables, print_) for text, tables, print_ in columns if text == WANTED]
of_csv = [(json.loads(row["tables"]), row["fingerprint"]) for row in rows if row["text"] == WANTED]
unmapped = [object["unmapped"] for object, text in zip(objects, texts) if text == WANTED]
of_ocsf = [(entry["ov.tables"], entry["ov.fingerprint"]) for entry in unmapped]
assert of_parquet == of_csv == of_ocsf and len(of_csv) == 3, (of_parquet, of_csv, of_ocsf)
assert all(tables == [] and len(print_) == 16 for tables, print_ in of_csv), of_csv
