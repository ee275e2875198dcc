-- For a database that an earlier version of this project created. There the role of the application, uploads, is the
-- superuser that initdb created, and PostgreSQL does not allow to demote that one. So it is renamed and loses its password,
-- and a new role gets its old name, its password and everything that it owns. scripts/role.sh runs this as a third role,
-- because a role cannot be renamed while it is logged in. All changes are one transaction. Open sessions keep their rights.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL lock_timeout = '60s';
SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 'uploads' \gset
ALTER ROLE uploads RENAME TO postgres;
ALTER ROLE postgres PASSWORD NULL;
CREATE ROLE uploads LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'verifier';
ALTER DATABASE uploads OWNER TO uploads;

-- REASSIGN OWNED refuses to work on the superuser of initdb, which also owns the system catalogs.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        WITH ours AS (
            SELECT oid, nspname FROM pg_namespace
            WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
        ), of_something AS (  -- members of extensions, and sequences that belong to columns
            SELECT classid, objid FROM pg_depend
            WHERE deptype = 'e' OR (classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i'))
        )
        SELECT format('ALTER SCHEMA %I OWNER TO uploads', nspname) FROM ours WHERE nspname <> 'public'
        UNION ALL
        SELECT format('ALTER %s %s OWNER TO uploads',
                CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                    WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, pg_class.oid::regclass)
        FROM pg_class JOIN ours ON relnamespace = ours.oid
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            AND ('pg_class'::regclass, pg_class.oid) NOT IN (SELECT classid, objid FROM of_something)
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO uploads', pg_proc.oid::regprocedure)
        FROM pg_proc JOIN ours ON pronamespace = ours.oid
        WHERE ('pg_proc'::regclass, pg_proc.oid) NOT IN (SELECT classid, objid FROM of_something)
        UNION ALL
        SELECT format('ALTER TYPE %s OWNER TO uploads', pg_type.oid::regtype)
        FROM pg_type JOIN ours ON typnamespace = ours.oid LEFT JOIN pg_class ON typrelid = pg_class.oid
        WHERE (typtype IN ('e', 'd', 'r') OR relkind = 'c')
            AND ('pg_type'::regclass, pg_type.oid) NOT IN (SELECT classid, objid FROM of_something)
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;
COMMIT;
