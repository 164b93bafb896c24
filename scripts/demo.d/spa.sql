-- Demo data of a day spa: clients, treatments, appointments. Invented people.
BEGIN;

INSERT INTO ref.record_source_r VALUES ('front desk', 'the booking program at the front desk') ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS ref.treatment_r (
    treatment_code text PRIMARY KEY,
    treatment_name text NOT NULL,
    minutes        integer NOT NULL CHECK (minutes > 0),
    price_usd      numeric(8, 2) NOT NULL
);
CREATE TABLE IF NOT EXISTS business.client_h (
    client_hk bytea PRIMARY KEY, client_bk text NOT NULL UNIQUE,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), record_source text NOT NULL
);
CREATE TABLE IF NOT EXISTS business.client_s (
    client_hk bytea NOT NULL REFERENCES business.client_h, load_date timestamptz NOT NULL DEFAULT util.load_date(),
    full_name text NOT NULL, date_of_birth date NOT NULL, allergies text, record_source text NOT NULL,
    PRIMARY KEY (client_hk, load_date)
);
CREATE TABLE IF NOT EXISTS business.appointment_h (
    appointment_hk bytea PRIMARY KEY, appointment_bk text NOT NULL UNIQUE,
    client_hk bytea NOT NULL REFERENCES business.client_h,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), record_source text NOT NULL
);
CREATE TABLE IF NOT EXISTS business.appointment_s (
    appointment_hk bytea NOT NULL REFERENCES business.appointment_h,
    load_date timestamptz NOT NULL DEFAULT util.load_date(), starts_at timestamptz NOT NULL,
    treatment_code text NOT NULL REFERENCES ref.treatment_r, therapist text NOT NULL, note text,
    record_source text NOT NULL, PRIMARY KEY (appointment_hk, load_date)
);

INSERT INTO ref.treatment_r VALUES
    ('SWE60', 'Swedish massage', 60, 110.00), ('DEEP90', 'Deep tissue massage', 90, 165.00),
    ('STONE75', 'Hot stone massage', 75, 150.00), ('FACE50', 'Hydrating facial', 50, 95.00),
    ('WRAP80', 'Seaweed wrap', 80, 140.00), ('PEDI45', 'Pedicure', 45, 60.00)
ON CONFLICT DO NOTHING;

CREATE TEMPORARY TABLE arriving (bk text, full_name text, born date, allergies text) ON COMMIT DROP;
INSERT INTO arriving VALUES
    ('C-1001', 'Amelia Hartwell', '1984-03-12', NULL), ('C-1002', 'Rosa Delgado', '1991-07-30', 'almond oil'),
    ('C-1003', 'Ingrid Solberg', '1976-11-02', NULL), ('C-1004', 'Maya Okafor', '1988-05-19', 'latex'),
    ('C-1005', 'Theo Lindqvist', '1969-01-25', NULL), ('C-1006', 'Priya Raman', '1995-09-08', 'lavender'),
    ('C-1007', 'Claire Beaumont', '1980-12-14', NULL), ('C-1008', 'Jonas Weber', '1973-06-03', 'shellfish, iodine');
DELETE FROM arriving WHERE util.hash_binary(bk) IN (SELECT client_hk FROM business.client_h);
INSERT INTO business.client_h SELECT util.hash_binary(bk), bk, util.load_date(), 'front desk'
    FROM arriving;
INSERT INTO business.client_s SELECT util.hash_binary(bk), util.load_date(), full_name, born, allergies, 'front desk'
    FROM arriving;

-- Two weeks of appointments, three a day.
CREATE TEMPORARY TABLE booked ON COMMIT DROP AS
    SELECT 'A-' || (5000 + n) AS bk, 'C-' || (1001 + n * 5 % 8) AS client_bk,
           timestamptz '2026-03-02 09:00+00' + n / 3 * interval '1 day' + n % 3 * interval '150 minutes' AS starts_at,
           (ARRAY['SWE60', 'DEEP90', 'STONE75', 'FACE50', 'WRAP80', 'PEDI45'])[1 + n * 7 % 6] AS treatment_code,
           (ARRAY['Dana', 'Yuki', 'Marco'])[1 + n % 3] AS therapist,
           CASE WHEN n % 5 = 0 THEN 'old shoulder injury, light pressure on the left side' END AS note
    FROM generate_series(0, 41) AS n;
DELETE FROM booked WHERE util.hash_binary(bk) IN (SELECT appointment_hk FROM business.appointment_h);
INSERT INTO business.appointment_h
    SELECT util.hash_binary(bk), bk, util.hash_binary(client_bk), util.load_date(), 'front desk' FROM booked;
INSERT INTO business.appointment_s
    SELECT util.hash_binary(bk), util.load_date(), starts_at, treatment_code, therapist, note, 'front desk' FROM booked;

CREATE OR REPLACE VIEW business.appointments AS
    SELECT h.appointment_bk AS appointment, s.starts_at, c.full_name AS client, c.allergies, t.treatment_name AS treatment,
           s.therapist, t.price_usd, s.note
    FROM business.appointment_h AS h
    JOIN business.appointment_s AS s USING (appointment_hk)
    JOIN business.client_s AS c USING (client_hk)
    JOIN ref.treatment_r AS t USING (treatment_code);

COMMIT;
