#!/bin/sh
# with-pgpass COMMAND…: runs a command that finds the ledger's password in $PGPASSFILE.
#
# libpq takes a password file only if it belongs to the user and nobody else can read it. A secret that is mounted
# keeps the owner and the mode it has on the host, so it is copied: from $PGPASS_SECRET to $PGPASSFILE, a tmpfs.
set -eu
: "${PGPASSFILE:?where the password file is written}"
umask 077
rm -f "$PGPASSFILE"
cat "${PGPASS_SECRET:-/run/secrets/pgpass}" > "$PGPASSFILE"
exec "$@"
