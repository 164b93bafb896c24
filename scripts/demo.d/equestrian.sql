-- Demo data of a riding stable: horses, their owners, lessons. Invented people and horses.
BEGIN;

INSERT INTO ref.record_source_r VALUES ('barn book', 'the book in the tack room') ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS business.horse_h (
    horse_hk bytea PRIMARY KEY, horse_bk text NOT NULL UNIQUE,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), record_source text NOT NULL
);
CREATE TABLE IF NOT EXISTS business.horse_s (
    horse_hk bytea NOT NULL REFERENCES business.horse_h, load_date timestamptz NOT NULL DEFAULT util.load_date(),
    horse_name text NOT NULL, breed text NOT NULL, born integer NOT NULL, stall text NOT NULL, owner_name text NOT NULL,
    board_usd numeric(8, 2) NOT NULL, record_source text NOT NULL, PRIMARY KEY (horse_hk, load_date)
);
CREATE TABLE IF NOT EXISTS business.lesson_h (
    lesson_hk bytea PRIMARY KEY, lesson_bk text NOT NULL UNIQUE, horse_hk bytea NOT NULL REFERENCES business.horse_h,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), record_source text NOT NULL
);
CREATE TABLE IF NOT EXISTS business.lesson_s (
    lesson_hk bytea NOT NULL REFERENCES business.lesson_h, load_date timestamptz NOT NULL DEFAULT util.load_date(),
    starts_at timestamptz NOT NULL, rider text NOT NULL, trainer text NOT NULL, discipline text NOT NULL,
    record_source text NOT NULL, PRIMARY KEY (lesson_hk, load_date)
);

CREATE TEMPORARY TABLE arriving (bk text, horse_name text, breed text, born integer, stall text, owner text, board numeric)
    ON COMMIT DROP;
INSERT INTO arriving VALUES
    ('840003100000101', 'Juniper Moon', 'Hanoverian', 2015, 'A1', 'Eleanor Fitch', 1450),
    ('840003100000102', 'Copperfield', 'Quarter Horse', 2012, 'A2', 'the barn', 0),
    ('840003100000103', 'Saltwater', 'Thoroughbred', 2017, 'A3', 'Daniel Achterberg', 1450),
    ('840003100000104', 'Biscuit', 'Welsh Pony', 2009, 'B1', 'the barn', 0),
    ('840003100000105', 'Vesper', 'Friesian', 2016, 'B2', 'Naomi Castellanos', 1600),
    ('840003100000106', 'Old Tom', 'Morgan', 2001, 'B3', 'the barn', 0);
DELETE FROM arriving WHERE util.hash_binary(bk) IN (SELECT horse_hk FROM business.horse_h);
INSERT INTO business.horse_h SELECT util.hash_binary(bk), bk, util.load_date(), 'barn book'
    FROM arriving;
INSERT INTO business.horse_s
    SELECT util.hash_binary(bk), util.load_date(), horse_name, breed, born, stall, owner, board, 'barn book'
    FROM arriving;

CREATE TEMPORARY TABLE booked ON COMMIT DROP AS
    SELECT 'L-' || (300 + n) AS bk, '84000310000010' || (1 + n * 5 % 6) AS horse_bk,
           timestamptz '2026-03-02 15:00+00' + n / 2 * interval '1 day' + n % 2 * interval '1 hour' AS starts_at,
           (ARRAY['Lucy Brandt', 'Sam Ferreira', 'Hannah Moss', 'Oliver Quist'])[1 + n % 4] AS rider,
           (ARRAY['Petra', 'Walt'])[1 + n % 2] AS trainer,
           (ARRAY['dressage', 'jumping', 'trail'])[1 + n % 3] AS discipline
    FROM generate_series(0, 29) AS n;
DELETE FROM booked WHERE util.hash_binary(bk) IN (SELECT lesson_hk FROM business.lesson_h);
INSERT INTO business.lesson_h
    SELECT util.hash_binary(bk), bk, util.hash_binary(horse_bk), util.load_date(), 'barn book' FROM booked;
INSERT INTO business.lesson_s
    SELECT util.hash_binary(bk), util.load_date(), starts_at, rider, trainer, discipline, 'barn book' FROM booked;

CREATE OR REPLACE VIEW business.horses AS
    SELECT h.horse_bk AS microchip, s.horse_name AS horse, s.breed, s.born, s.stall, s.owner_name AS owner, s.board_usd
    FROM business.horse_h AS h JOIN business.horse_s AS s USING (horse_hk);
CREATE OR REPLACE VIEW business.lessons AS
    SELECT h.lesson_bk AS lesson, s.starts_at, s.rider, s.trainer, s.discipline, horse.horse_name AS horse
    FROM business.lesson_h AS h
    JOIN business.lesson_s AS s USING (lesson_hk)
    JOIN business.horse_s AS horse USING (horse_hk);

COMMIT;
