#!/bin/sh
# Lists the files of bodies in a folder: `bodies.sh FOLDER`. nginx unlinks a file as soon as it is open, and those of
# wsgiserver never have a name: they are among the open files of processes. A process may end meanwhile.
find "$1" -type f
find /proc/[0-9]*/fd -lname "$1/*" -printf '%l\n' 2>/dev/null
true
