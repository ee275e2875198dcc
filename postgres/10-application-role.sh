#!/bin/sh
# What PostgreSQL's image runs once, when it has made the database: gives that to the role that the application has. It
# owns its database, and is nobody beyond that: no superuser, who could run programs and read files of this container.
# Nobody can log in as superuser over the network: that role has no password. `scripts/shell.sh db psql -U postgres` is it.
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
