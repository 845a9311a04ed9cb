"""Errors a user can act on.

Each message is one line that names what is wrong (file, record and field, or configuration key) and ends
with what to do. Entry points print the message alone and exit with ``exit_code``; a traceback means a bug
of ours, never a fault in the user's data or configuration.
"""

from __future__ import annotations

from collections.abc import Sequence


class EhrbenchError(Exception):
    """Base of all errors that are the user's to mend."""

    exit_code = 2


class DataError(EhrbenchError):
    """A file, record or field that cannot be read.

    Parameters
    ----------
    problem: what is wrong with it, with the offending value.
    file, record, field: where; each may be unknown.
    remedy: what to do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        record: object = None,
        field: object = None,
        remedy: str = "",
    ) -> None:
        self.problem, self.file, self.record, self.field, self.remedy = problem, file, record, field, remedy
        places = (("file", file), ("record", record), ("field", field))
        where = ", ".join(f"{name} {value}" for name, value in places if value is not None)
        super().__init__(
            f"{where}: {problem}" * bool(where) + problem * (not where) + (f" — {remedy}" if remedy else "")
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _data_error, (self.problem, self.file, self.record, self.field, self.remedy)


def _data_error(problem: str, file: object, record: object, field: object, remedy: str) -> DataError:
    return DataError(problem, file=file, record=record, field=field, remedy=remedy)


class ConfigError(EhrbenchError):
    """A configuration value that cannot be used; names its key."""

    def __init__(self, key: str, problem: str, remedy: str = "") -> None:
        self.key, self.problem, self.remedy = key, problem, remedy
        super().__init__(f"{key}: {problem}" + (f" — {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[object, ...]:
        return ConfigError, (self.key, self.problem, self.remedy)


def check_once(key: str, names: Sequence[str]) -> None:
    """ConfigError where one of the names stands twice: whoever wrote that meant something else."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(key, f"{name} is named twice", "name it once")


class FitError(EhrbenchError):
    """A fit that cannot give a usable model (a NaN loss, a fold with one class).

    Its trial is spent as failed at once: the same parameters and seed would fail the same way.
    """


class UndefinedMetric(EhrbenchError):
    """A metric that does not exist for these labels and predictions; the message says why."""


class StudyMismatch(EhrbenchError):
    """A study of this name exists with another data digest, space, folds or trainer."""


class StorageError(EhrbenchError):
    """The database, artifact store or runs folder cannot be reached or written."""


class LeaseLost(EhrbenchError):
    """Another worker has taken over this ticket; whoever sees this must write nothing more for it."""


class BundleError(EhrbenchError):
    """A bundle or run folder with a missing, altered or unreadable file."""
