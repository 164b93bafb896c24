"""Reads a file of the archive as an auditor does who has its key: with DuckDB and with pyarrow."""
import base64
import sys

import duckdb
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

path, key = sys.argv[1], bytes.fromhex(sys.argv[2])

table = pq.read_table(path, decryption_properties=pe.create_decryption_properties(footer_key=key))
print("pyarrow", table.num_rows, table["text"].unique().to_pylist(), sum(rows or 0 for rows in table["rows"].to_pylist()))

db = duckdb.connect()
db.execute(f"PRAGMA add_parquet_key('archive', '{base64.b64encode(key).decode()}')")
read = f"read_parquet('{path}', encryption_config = {{footer_key: 'archive'}})"
print("duckdb", *db.execute(f"SELECT count(*), list(DISTINCT text), sum(rows) FROM {read}").fetchone())
