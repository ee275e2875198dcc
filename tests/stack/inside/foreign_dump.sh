#!/bin/sh
# Dumps a database of another project to stdout: valid, but it cannot be migrated.
set -e
export PGUSER=postgres
createdb foreign_one
psql -q -d foreign_one -c 'CREATE TABLE photos_photo (id int)'
pg_dump --format=custom foreign_one
dropdb foreign_one
