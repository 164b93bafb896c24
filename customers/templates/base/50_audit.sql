-- How data came into this database: one row for each load. Statements are recorded by OneVault, outside of the
-- customer's reach; this table is the customer's own.

CREATE TABLE IF NOT EXISTS audit.load_h (
    load_hk       bytea PRIMARY KEY CHECK (octet_length(load_hk) = 32),
    load_bk       text NOT NULL UNIQUE CHECK (load_bk <> ''),
    load_date     timestamptz NOT NULL DEFAULT util.load_date(),
    record_source text NOT NULL,
    CONSTRAINT load_hk_is_hash_of_bk CHECK (load_hk = util.hash_binary(load_bk))
);

COMMENT ON TABLE audit.load_h IS 'Hub: every load of data into this database.';
COMMENT ON COLUMN audit.load_h.load_hk IS 'Hash key: util.hash_binary(load_bk).';
COMMENT ON COLUMN audit.load_h.load_bk IS 'Business key: the name of the load, unique, for example a file and its date.';
COMMENT ON COLUMN audit.load_h.load_date IS 'When it began.';
COMMENT ON COLUMN audit.load_h.record_source IS 'The system the data came from.';

CREATE TABLE IF NOT EXISTS audit.load_s (
    load_hk       bytea NOT NULL REFERENCES audit.load_h,
    load_date     timestamptz NOT NULL DEFAULT util.load_date(),
    table_name    text NOT NULL,
    rows_loaded   bigint NOT NULL CHECK (rows_loaded >= 0),
    error_message text,
    record_source text NOT NULL,
    PRIMARY KEY (load_hk, table_name, load_date)
);

COMMENT ON TABLE audit.load_s IS 'Satellite: what a load brought to each table.';
COMMENT ON COLUMN audit.load_s.load_hk IS 'The load.';
COMMENT ON COLUMN audit.load_s.load_date IS 'When this was noted.';
COMMENT ON COLUMN audit.load_s.table_name IS 'Schema and table.';
COMMENT ON COLUMN audit.load_s.rows_loaded IS 'Rows added.';
COMMENT ON COLUMN audit.load_s.error_message IS 'Why the load ended early; NULL when it did not.';
COMMENT ON COLUMN audit.load_s.record_source IS 'The system the data came from.';
