-- what a driver wants to know of types
-- gives: called number list_number spelled
SELECT t.typname AS called, t.oid AS number, t.typarray AS list_number, t.oid::regtype::text AS spelled FROM pg_type t WHERE t.oid = to_regtype('timestamptz');
-- gives: called number words
SELECT t.typname AS called, t.oid AS number, array_agg(e.enumlabel) AS words FROM pg_type t LEFT JOIN pg_enum e ON e.enumtypid = t.oid WHERE t.oid = to_regtype('text') GROUP BY t.typname, t.oid;
-- gives: called of_type
SELECT t.typname AS called, r.rngsubtype AS of_type FROM pg_range r JOIN pg_type t ON t.oid = r.rngtypid WHERE t.oid = to_regtype('int4range');
-- gives: current_database version
SELECT current_database(), version();
