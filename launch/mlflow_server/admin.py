"""mlflow's work on a database, in a process of its own: `python -m launch.mlflow_server.admin`.

The address is in MLFLOW_BACKEND_STORE_URI and not an argument, since a list of processes shows
arguments, and a password with them. Trouble is the last line on stderr.
"""

import json
import os
import sys
from collections.abc import Sequence

BACKEND = "MLFLOW_BACKEND_STORE_URI"

_CONNECT_SECONDS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `state`, `upgrade` or `gc`; prints what it found as one JSON line.

    Args:
        argv: The verb, and arguments of mlflow's gc.

    Returns:
        Exit code: 0 done, 1 trouble.
    """
    verb, *rest = sys.argv[1:] if argv is None else argv
    uri = os.environ[BACKEND]
    try:
        if verb == "gc":
            _garbage(uri, rest)
        else:
            sys.stdout.write(json.dumps(_upgrade(uri) if verb == "upgrade" else state(uri)) + "\n")
    except Exception as error:  # a database raises anything; the parent makes one line of it
        sys.stderr.write(f"{' '.join(str(error).split())} ({type(error).__name__})\n")
        return 1
    return 0


def state(uri: str) -> dict[str, str | int]:
    """Looks at a database.

    Returns:
        `tables`, "none", "current" or "old"; for PostgreSQL also `connections`, how many clients
        it takes.
    """
    import sqlalchemy
    from mlflow.store.db import utils

    postgres = uri.startswith("postgresql")
    limit = {"connect_timeout": _CONNECT_SECONDS} if postgres else {}
    # mlflow's own way to connect tries for minutes
    engine = sqlalchemy.create_engine(uri, connect_args=limit)
    with engine.connect() as connection:
        found: dict[str, str | int] = {"tables": "current"}
        if postgres:
            show = "SELECT current_setting('{}')::int"
            most = connection.execute(sqlalchemy.text(show.format("max_connections"))).scalar_one()
            kept = show.format("superuser_reserved_connections")
            found["connections"] = most - connection.execute(sqlalchemy.text(kept)).scalar_one()
        else:
            connection.execute(sqlalchemy.text("SELECT 1"))
    tables = sqlalchemy.inspect(engine).get_table_names()
    if not tables:
        found["tables"] = "none"
    elif "alembic_version" not in tables:
        raise ValueError(f"other tables are in it, such as {tables[0]}: give it a new database")
    elif utils._get_schema_version(engine) != utils._get_latest_schema_revision():
        found["tables"] = "old"
    engine.dispose()
    return found


def _upgrade(uri: str) -> dict[str, str | int]:
    from mlflow.db import commands

    commands.main(["upgrade", uri], standalone_mode=False)
    return state(uri)


def _garbage(uri: str, arguments: Sequence[str]) -> None:
    from mlflow.cli import cli

    cli.main(["gc", "--backend-store-uri", uri, *arguments], standalone_mode=False)


if __name__ == "__main__":
    raise SystemExit(main())
