"""The MariaDB of the infra tests, for whole searches on it."""

from tests.infra.conftest import mariadb

__all__ = ["mariadb"]
