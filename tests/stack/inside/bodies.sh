#!/bin/sh
# What lies in a folder where bodies are received: `bodies.sh FOLDER`. nginx takes a file's name away as soon as it is
# open, and those of wsgiserver never have one: they are among what processes have open. A process may end meanwhile.
find "$1" -type f
find /proc/[0-9]*/fd -lname "$1/*" -printf '%l\n' 2>/dev/null
true
