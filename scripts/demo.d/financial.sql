-- Demo data of a wealth manager: accounts, trades, holdings. Invented people and companies.
BEGIN;

INSERT INTO ref.record_source_r VALUES ('custodian', 'the custodian bank''s nightly file') ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS ref.security_r (
    symbol text PRIMARY KEY, security_name text NOT NULL, price_usd numeric(12, 4) NOT NULL
);
CREATE TABLE IF NOT EXISTS business.account_h (
    account_hk bytea PRIMARY KEY, account_bk text NOT NULL UNIQUE,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), record_source text NOT NULL
);
CREATE TABLE IF NOT EXISTS business.account_s (
    account_hk bytea NOT NULL REFERENCES business.account_h, load_date timestamptz NOT NULL DEFAULT util.load_date(),
    holder text NOT NULL, account_type text NOT NULL, advisor text NOT NULL, record_source text NOT NULL,
    PRIMARY KEY (account_hk, load_date)
);
CREATE TABLE IF NOT EXISTS business.trade_h (
    trade_hk bytea PRIMARY KEY, trade_bk text NOT NULL UNIQUE, account_hk bytea NOT NULL REFERENCES business.account_h,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), record_source text NOT NULL
);
CREATE TABLE IF NOT EXISTS business.trade_s (
    trade_hk bytea NOT NULL REFERENCES business.trade_h, load_date timestamptz NOT NULL DEFAULT util.load_date(),
    traded_at timestamptz NOT NULL, symbol text NOT NULL REFERENCES ref.security_r, quantity numeric(14, 4) NOT NULL,
    price_usd numeric(12, 4) NOT NULL, record_source text NOT NULL, PRIMARY KEY (trade_hk, load_date)
);

INSERT INTO ref.security_r VALUES
    ('NRTH', 'Northwind Timber', 48.2500), ('HALC', 'Halcyon Instruments', 131.1000),
    ('PLMR', 'Palmer Freight', 22.7500), ('ORCH', 'Orchard Foods', 76.4000), ('TB10', 'Treasury note, ten years', 98.6250)
ON CONFLICT DO NOTHING;

CREATE TEMPORARY TABLE arriving (bk text, holder text, account_type text, advisor text) ON COMMIT DROP;
INSERT INTO arriving VALUES
    ('70-2201', 'Margaret Oyelaran', 'trust', 'S. Whitcombe'), ('70-2202', 'Felix Anders', 'individual', 'S. Whitcombe'),
    ('70-2203', 'Anders Family Foundation', 'foundation', 'R. Iyer'), ('70-2204', 'Lena Marchetti', 'retirement', 'R. Iyer'),
    ('70-2205', 'Gordon Pike', 'individual', 'R. Iyer');
DELETE FROM arriving WHERE util.hash_binary(bk) IN (SELECT account_hk FROM business.account_h);
INSERT INTO business.account_h SELECT util.hash_binary(bk), bk, util.load_date(), 'custodian'
    FROM arriving;
INSERT INTO business.account_s SELECT util.hash_binary(bk), util.load_date(), holder, account_type, advisor, 'custodian'
    FROM arriving;

CREATE TEMPORARY TABLE reported ON COMMIT DROP AS
    SELECT 'T-' || (90000 + n) AS bk, '70-220' || (1 + n % 5) AS account_bk,
           timestamptz '2026-02-02 14:30+00' + n * interval '7 hours 11 minutes' AS traded_at, security.symbol,
           (50 + n * 37 % 400)::numeric AS quantity,
           round(security.price_usd * (0.97 + (n * 13 % 60) / 1000.0), 4) AS price_usd
    FROM generate_series(0, 59) AS n
    JOIN LATERAL (SELECT symbol, price_usd FROM ref.security_r ORDER BY symbol OFFSET (n / 5 + n) % 5 LIMIT 1) AS security ON true;
DELETE FROM reported WHERE util.hash_binary(bk) IN (SELECT trade_hk FROM business.trade_h);
INSERT INTO business.trade_h
    SELECT util.hash_binary(bk), bk, util.hash_binary(account_bk), util.load_date(), 'custodian' FROM reported;
INSERT INTO business.trade_s
    SELECT util.hash_binary(bk), util.load_date(), traded_at, symbol, quantity, price_usd, 'custodian' FROM reported;

CREATE OR REPLACE VIEW business.holdings AS
    SELECT a.account_bk AS account, s.holder, t.symbol, sum(t.quantity) AS quantity,
           round(sum(t.quantity) * r.price_usd, 2) AS value_usd
    FROM business.account_h AS a
    JOIN business.account_s AS s USING (account_hk)
    JOIN business.trade_h AS h USING (account_hk)
    JOIN business.trade_s AS t USING (trade_hk)
    JOIN ref.security_r AS r USING (symbol)
    GROUP BY a.account_bk, s.holder, t.symbol, r.price_usd;

COMMIT;
