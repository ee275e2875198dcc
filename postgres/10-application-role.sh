#!/bin/sh
# PostgreSQL's image runs this once, after it has created the database. It creates the role of the application, which owns
# the database and has no other rights. A superuser could run programs and read files in this container.
# The superuser has no password, so it cannot log in over the network. To use it: scripts/shell.sh db psql -U postgres
set -eu

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\getenv database POSTGRES_DB
\getenv password APPLICATION_PASSWORD
BEGIN;
CREATE ROLE uploads LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
ALTER DATABASE :"database" OWNER TO uploads;
ALTER ROLE CURRENT_USER PASSWORD NULL;
COMMIT;
SQL
