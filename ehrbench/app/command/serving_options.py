"""Serving options: ``ehrbench serve``: from its arguments and the environment to what a server is made of.

The database is imported only where predictions are kept: a server that keeps none has no packages for it.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrbench.core.errors import ConfigError
from ehrbench.core.places import argument, is_address

if TYPE_CHECKING:
    from ehrbench.infra.database import Database
    from ehrbench.serve.store import PredictionStore

#: Environment variables: keys, as a file of them has them; the password of a store that has one.
KEYS, PASSWORD = "EHRBENCH_API_KEYS", "EHRBENCH_STORE_PASSWORD"


def add_serve(commands: Any) -> None:
    """The parser of ``ehrbench serve``."""
    serve = commands.add_parser("serve", help="answer HTTP requests from bundles")
    served = serve.add_mutually_exclusive_group(required=True)
    served.add_argument(
        "--bundle", type=argument, metavar="DIR", help="its folder, such as runs/quickstart/bundle"
    )
    served.add_argument(
        "--deployments",
        type=argument,
        metavar="PLACE",
        help="a folder of bundles (or links to them) by alias, or a YAML that names them; watched",
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine alone)"
    )
    serve.add_argument("--port", type=int, default=8000, help="default 8000; 0: any free one")
    serve.add_argument("--threads", type=int, default=1, help="CPU threads of one prediction (default 1)")
    serve.add_argument(
        "--rate", type=float, default=0, metavar="N", help="requests a second of one client (default: any)"
    )
    serve.add_argument(
        "--drain",
        type=float,
        default=0,
        metavar="SECONDS",
        help="answer for so long after SIGTERM, while /readyz says no (default 0)",
    )
    serve.add_argument(
        "--store",
        metavar="FILE|URL",
        help="keep predictions, so that outcomes can be told: a SQLite file, or mysql://user@host/database "
        f"(password: {PASSWORD}); default: nothing is kept",
    )
    serve.add_argument("--keep-inputs", action="store_true", help="keep posted records, too (default: not)")
    serve.add_argument(
        "--retention-days", type=float, default=90, metavar="DAYS", help="then all is deleted (default 90)"
    )
    serve.add_argument(
        "--api-keys", type=argument, metavar="FILE", help=f"NAME KEY, one a line (default: {KEYS})"
    )
    serve.add_argument(
        "--fhir",
        nargs="?",
        const="",
        metavar="MAP",
        help="answer FHIR R4 and CDS Hooks, too; MAP: a YAML of codes in the place of the package's",
    )
    serve.set_defaults(run_command=_serve)


def _serve(options: argparse.Namespace) -> None:
    from ehrbench.serve.clinical.code_map import code_maps
    from ehrbench.serve.keys import ApiKeys
    from ehrbench.serve.limits import ServeSettings, StoreSettings
    from ehrbench.serve.serving import serve

    if options.keep_inputs and not options.store:
        raise ConfigError("--keep-inputs", "there is no store to keep them in", "give --store")
    if options.api_keys:
        keys = ApiKeys.read(options.api_keys)
    else:
        keys = ApiKeys.of_text(os.environ.get(KEYS, ""), KEYS)
    if options.store and not keys and not _is_local(options.host):
        problem = f"anybody who reaches {options.host} could write to the store"
        raise ConfigError("--api-keys", problem, f"name a file of keys, or set {KEYS}")
    settings = ServeSettings(threads=options.threads, rate=options.rate)
    kept = StoreSettings(inputs=options.keep_inputs, retention_days=options.retention_days)
    store: PredictionStore | None = None
    if options.store:
        from ehrbench.serve.store import PredictionStore

        store = PredictionStore(store_database(options.store).engine, kept)
    maps = None if options.fhir is None else code_maps(Path(options.fhir) if options.fhir else None)
    place = options.bundle or options.deployments
    more = {"store": store, "keys": keys, "maps": maps, "drain_s": options.drain}
    serve(place, options.host, options.port, settings=settings, **more)


def store_database(place: str) -> Database:
    """A SQLite file, or a server by its URL; ConfigError for what is neither, or holds a password."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from ehrbench.infra.database import Database

    if not is_address(place):
        return Database.sqlite(Path(argument(place)))
    try:
        url = make_url(place)
    except ArgumentError as error:
        remedy = "give a file, or mysql://user@host/database"
        raise ConfigError("--store", "is no URL of a database", remedy) from error
    if url.get_backend_name() not in ("mysql", "mariadb") or not url.database:
        remedy = "give a file, or mysql://user@host/database"
        raise ConfigError("--store", f"{place!r} names no MySQL database", remedy)
    if url.password:
        raise ConfigError("--store", "holds a password, and addresses are shown", f"use {PASSWORD}")
    secret = os.environ.get(PASSWORD, "")
    url = url.set(drivername="mysql+pymysql").update_query_dict({"charset": "utf8mb4"})
    arguments = {"password": secret, "connect_timeout": 5, "read_timeout": 30, "write_timeout": 30}
    return Database(url, arguments)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
