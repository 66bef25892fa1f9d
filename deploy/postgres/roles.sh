#!/bin/sh
# One role and one database for each service, and no way from one to another's. PostgreSQL's image runs this once, when
# it makes its data. Anywhere else:  ACCOUNTS_DATABASE_PASSWORD=… … roles.sh postgres://user:password@host:5432/postgres
# Run again, it sets the passwords.
set -eu

for service in accounts catalog orders inventory payments delivery notifications; do
    variable="$(echo "$service" | tr '[:lower:]' '[:upper:]')_DATABASE_PASSWORD"
    if [ -z "$(printenv "$variable")" ]; then
        echo "roles.sh: set $variable" >&2
        exit 1
    fi
    # The password comes by the environment: arguments can be seen by everybody on the machine.
    psql -qX -v ON_ERROR_STOP=1 -v name="${DATABASE_PREFIX:-shop_}$service" -v variable="$variable" "$@" <<'SQL'
\set password `printenv :variable`
SELECT format('CREATE ROLE %I', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN PASSWORD :'password';
-- Who is no superuser can give databases only to roles it belongs to.
SELECT format('GRANT %I TO CURRENT_USER', :'name')
    WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = CURRENT_USER) \gexec
SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
