-- Reference data that every industry uses.

CREATE TABLE IF NOT EXISTS ref.record_source_r (
    record_source text PRIMARY KEY,
    description   text NOT NULL
);

COMMENT ON TABLE ref.record_source_r IS 'The systems that rows come from.';
COMMENT ON COLUMN ref.record_source_r.record_source IS 'As it stands in the column record_source of every table.';
COMMENT ON COLUMN ref.record_source_r.description IS 'What the system is.';

INSERT INTO ref.record_source_r (record_source, description) VALUES
    ('onevault', 'written while OneVault made this database')
ON CONFLICT (record_source) DO NOTHING;
