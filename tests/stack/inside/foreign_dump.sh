#!/bin/sh
# Dumps a database of somebody else's to stdout: sound, but what is brought up to date there is not ours.
set -e
export PGUSER=postgres
createdb foreign_one
psql -q -d foreign_one -c 'CREATE TABLE photos_photo (id int)'
pg_dump --format=custom foreign_one
dropdb foreign_one
