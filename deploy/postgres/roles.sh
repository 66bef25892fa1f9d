#!/bin/sh
# One role and one database for each service, and no way from one to another's. docker-compose.yml runs this at every
# start. Elsewhere:  ACCOUNTS_DATABASE_PASSWORD=… … roles.sh postgres://user:password@host:5432/postgres
# Run again, it makes what is missing and sets passwords and limits. No role holds more than CONNECTION_LIMIT connections
# (40), so that a service that is flooded leaves the others theirs: the limits of all seven fit into max_connections. With MONITOR_PASSWORD it makes a role, too, that sees what the
# server does, and none of its data.
set -eu

SERVICES="accounts catalog orders inventory payments delivery notifications"

password_of() {
    echo "$(echo "$1" | tr '[:lower:]' '[:upper:]')_DATABASE_PASSWORD"
}

for service in $SERVICES; do  # before anything is made
    if [ -z "$(printenv "$(password_of "$service")")" ]; then
        echo "roles.sh: set $(password_of "$service")" >&2
        exit 1
    fi
done

for service in $SERVICES; do
    # The password comes by the environment: arguments can be seen by everybody on the machine.
    psql -qX -v ON_ERROR_STOP=1 -v name="${DATABASE_PREFIX:-shop_}$service" -v variable="$(password_of "$service")" \
        -v limit="${CONNECTION_LIMIT:-40}" "$@" <<'SQL'
\set password `printenv :variable`
SELECT format('CREATE ROLE %I', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN PASSWORD :'password' CONNECTION LIMIT :limit;
-- Who is no superuser can give databases only to roles it belongs to.
SELECT format('GRANT %I TO CURRENT_USER', :'name')
    WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER) \gexec
SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done

if [ -n "${MONITOR_PASSWORD:-}" ]; then
    psql -qX -v ON_ERROR_STOP=1 -v name="${DATABASE_PREFIX:-shop_}monitor" "$@" <<'SQL'
\set password `printenv MONITOR_PASSWORD`
SELECT format('CREATE ROLE %I', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN PASSWORD :'password';
GRANT pg_monitor TO :"name";
SQL
fi
