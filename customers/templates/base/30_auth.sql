-- Tenants and users: two hubs, the link between them, and what is said of each over time.

CREATE TABLE IF NOT EXISTS auth.tenant_h (
    tenant_hk     bytea PRIMARY KEY CHECK (octet_length(tenant_hk) = 32),
    tenant_bk     text NOT NULL UNIQUE CHECK (tenant_bk <> ''),
    load_date     timestamptz NOT NULL DEFAULT util.load_date(),
    record_source text NOT NULL,
    CONSTRAINT tenant_hk_is_hash_of_bk CHECK (tenant_hk = util.hash_binary(tenant_bk))
);

COMMENT ON TABLE auth.tenant_h IS 'Hub: every tenant of this database; the first is the customer itself.';
COMMENT ON COLUMN auth.tenant_h.tenant_hk IS 'Hash key: util.hash_binary(tenant_bk).';
COMMENT ON COLUMN auth.tenant_h.tenant_bk IS 'Business key: the tenant''s name, unique.';
COMMENT ON COLUMN auth.tenant_h.load_date IS 'When the key was first seen.';
COMMENT ON COLUMN auth.tenant_h.record_source IS 'The system that told us.';

CREATE TABLE IF NOT EXISTS auth.user_h (
    user_hk       bytea PRIMARY KEY CHECK (octet_length(user_hk) = 32),
    user_bk       text NOT NULL UNIQUE CHECK (user_bk <> ''),
    load_date     timestamptz NOT NULL DEFAULT util.load_date(),
    record_source text NOT NULL,
    CONSTRAINT user_hk_is_hash_of_bk CHECK (user_hk = util.hash_binary(user_bk))
);

COMMENT ON TABLE auth.user_h IS 'Hub: every user of this customer.';
COMMENT ON COLUMN auth.user_h.user_hk IS 'Hash key: util.hash_binary(user_bk).';
COMMENT ON COLUMN auth.user_h.user_bk IS 'Business key: the name the user logs in with, unique.';
COMMENT ON COLUMN auth.user_h.load_date IS 'When the key was first seen.';
COMMENT ON COLUMN auth.user_h.record_source IS 'The system that told us.';

CREATE TABLE IF NOT EXISTS auth.tenant_user_l (
    tenant_user_hk bytea PRIMARY KEY CHECK (octet_length(tenant_user_hk) = 32),
    tenant_hk      bytea NOT NULL REFERENCES auth.tenant_h,
    user_hk        bytea NOT NULL REFERENCES auth.user_h,
    load_date      timestamptz NOT NULL DEFAULT util.load_date(),
    record_source  text NOT NULL,
    UNIQUE (tenant_hk, user_hk)
);

CREATE INDEX IF NOT EXISTS tenant_user_l_user_hk ON auth.tenant_user_l (user_hk);

COMMENT ON TABLE auth.tenant_user_l IS 'Link: which user belongs to which tenant.';
COMMENT ON COLUMN auth.tenant_user_l.tenant_user_hk IS 'Hash key: util.hash_binary(tenant_bk, user_bk).';
COMMENT ON COLUMN auth.tenant_user_l.tenant_hk IS 'The tenant.';
COMMENT ON COLUMN auth.tenant_user_l.user_hk IS 'The user.';
COMMENT ON COLUMN auth.tenant_user_l.load_date IS 'When the relation was first seen.';
COMMENT ON COLUMN auth.tenant_user_l.record_source IS 'The system that told us.';

CREATE TABLE IF NOT EXISTS auth.tenant_s (
    tenant_hk     bytea NOT NULL REFERENCES auth.tenant_h,
    load_date     timestamptz NOT NULL DEFAULT util.load_date(),
    display_name  text NOT NULL,
    industry      text NOT NULL,
    region        text NOT NULL,
    record_source text NOT NULL,
    PRIMARY KEY (tenant_hk, load_date)
);

COMMENT ON TABLE auth.tenant_s IS 'Satellite: what is known of a tenant; the row with the latest load date holds now.';
COMMENT ON COLUMN auth.tenant_s.tenant_hk IS 'The tenant.';
COMMENT ON COLUMN auth.tenant_s.load_date IS 'From when on this was known.';
COMMENT ON COLUMN auth.tenant_s.display_name IS 'The name people read.';
COMMENT ON COLUMN auth.tenant_s.industry IS 'For example spa, equestrian or financial.';
COMMENT ON COLUMN auth.tenant_s.region IS 'Where the data lives, for example us-east-1.';
COMMENT ON COLUMN auth.tenant_s.record_source IS 'The system that told us.';

CREATE TABLE IF NOT EXISTS auth.user_s (
    user_hk       bytea NOT NULL REFERENCES auth.user_h,
    load_date     timestamptz NOT NULL DEFAULT util.load_date(),
    display_name  text NOT NULL,
    email         text,
    is_active     boolean NOT NULL DEFAULT true,
    record_source text NOT NULL,
    PRIMARY KEY (user_hk, load_date)
);

COMMENT ON TABLE auth.user_s IS 'Satellite: what is known of a user; the row with the latest load date holds now.';
COMMENT ON COLUMN auth.user_s.user_hk IS 'The user.';
COMMENT ON COLUMN auth.user_s.load_date IS 'From when on this was known.';
COMMENT ON COLUMN auth.user_s.display_name IS 'The name people read.';
COMMENT ON COLUMN auth.user_s.email IS 'Where to write to; NULL when not known.';
COMMENT ON COLUMN auth.user_s.is_active IS 'False once the user has left.';
COMMENT ON COLUMN auth.user_s.record_source IS 'The system that told us.';

CREATE OR REPLACE VIEW auth.user_now AS
    SELECT hub.user_hk, hub.user_bk, latest.display_name, latest.email, latest.is_active, latest.load_date
    FROM auth.user_h AS hub
    LEFT JOIN LATERAL (
        SELECT s.display_name, s.email, s.is_active, s.load_date
        FROM auth.user_s AS s WHERE s.user_hk = hub.user_hk ORDER BY s.load_date DESC LIMIT 1
    ) AS latest ON true;

COMMENT ON VIEW auth.user_now IS 'Every user with what is known now.';
