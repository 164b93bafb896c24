-- The five schemas of every customer's database.
--
-- Data Vault 2.0: hubs (_h) hold business keys, links (_l) relations between hubs, satellites (_s) what is
-- said of a hub or link over time, reference tables (_r) shared codes. Every file of this folder can be run
-- again: it makes what is missing and changes nothing that is there.

CREATE SCHEMA IF NOT EXISTS auth;
CREATE SCHEMA IF NOT EXISTS business;
CREATE SCHEMA IF NOT EXISTS audit;
CREATE SCHEMA IF NOT EXISTS util;
CREATE SCHEMA IF NOT EXISTS ref;

COMMENT ON SCHEMA auth IS 'Tenants and users of this customer.';
COMMENT ON SCHEMA business IS 'Hubs, links and satellites of the customer''s trade.';
COMMENT ON SCHEMA audit IS 'How data came into this database. The record of every statement is kept by OneVault, outside.';
COMMENT ON SCHEMA util IS 'Functions that every other schema uses.';
COMMENT ON SCHEMA ref IS 'Reference data: codes and their meaning.';

REVOKE ALL ON SCHEMA auth, business, audit, util, ref FROM PUBLIC;
