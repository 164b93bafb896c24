-- Hash keys and the few functions the other schemas need.

-- One business key, made comparable: spaces at both ends go, ASCII letters become capitals. NULL stays NULL.
-- COLLATE "C" makes the answer the same under every locale.
CREATE OR REPLACE FUNCTION util.normalise_key(key text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
BEGIN ATOMIC
    SELECT upper(btrim(key, E' \t\r\n') COLLATE "C");
END;

COMMENT ON FUNCTION util.normalise_key(text) IS
    'A business key without spaces at its ends and with capital ASCII letters; NULL stays NULL.';

-- Each key is written as its length in bytes, a colon and its text, NULL as "-:". So no two lists of keys share
-- a text: ('ab', 'c') is "2:AB1:C", ('a', 'bc') is "1:A2:BC".
CREATE OR REPLACE FUNCTION util.hash_binary(VARIADIC keys text[]) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT sha256(convert_to(coalesce(string_agg(
        CASE WHEN given.key IS NULL THEN '-:'
             ELSE octet_length(util.normalise_key(given.key))::text || ':' || util.normalise_key(given.key)
        END, '' ORDER BY given.place), ''), 'UTF8'))
    FROM unnest(keys) WITH ORDINALITY AS given (key, place);
END;

COMMENT ON FUNCTION util.hash_binary(text[]) IS
    'Hash key of a hub or link: SHA-256 (32 bytes) over the normalised business keys, in the order given.';

CREATE OR REPLACE FUNCTION util.hash_binary(key text) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT util.hash_binary(VARIADIC ARRAY[key]);
END;

COMMENT ON FUNCTION util.hash_binary(text) IS
    'Hash key of a hub with one business key; the same as the function for several with one given.';

-- When a row was loaded: the start of its transaction, so that rows loaded together agree.
CREATE OR REPLACE FUNCTION util.load_date() RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT transaction_timestamp();
END;

COMMENT ON FUNCTION util.load_date() IS 'The load date of every row of this transaction.';

CREATE TABLE IF NOT EXISTS util.template_r (
    template_name text PRIMARY KEY,
    content_hash  bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    applied_at    timestamptz NOT NULL DEFAULT util.load_date()
);

COMMENT ON TABLE util.template_r IS 'The template files that made this database''s schemas.';
COMMENT ON COLUMN util.template_r.template_name IS 'Folder and file, for example base/20_util.sql.';
COMMENT ON COLUMN util.template_r.content_hash IS 'SHA-256 of the file as it was applied last.';
COMMENT ON COLUMN util.template_r.applied_at IS 'When it was applied last.';
