"""Confinement: a process of its own for what must not remember, nor look anything up.

A fit and a prediction are functions of what they are handed. Whatever else reaches them (a dict in a module,
a class attribute, a cache on disk, the file of outcomes) is seen in no access log. So they are run again in a
fresh process, whose folders for caches are empty, and which is refused every file but code, libraries and
what its configuration names: by an audit hook (PEP 578), which cannot be taken away again. The hook sees what
Python opens, connects to and starts; it is no sandbox against compiled code that opens files by itself.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ehrbench
from ehrbench.core.errors import EhrbenchError, StorageError

#: Places of the system, of which no study's data are part; not /dev/shm, which is somebody's memory.
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/System", "/Library"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty"),
)
#: What is code wherever it lies, and what pip writes beside it.
_CODE, _INSTALLED = (".py", ".pyc", ".so", ".pyd", ".dylib", ".dll"), (".dist-info", ".egg-info")
#: Hubs of published weights: read, since nobody's patients are in them.
_HUBS = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
#: Of what starts other programs.
_STARTS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"})


class OutsideLooked(EhrbenchError):
    """A fit or a prediction looked at something that it was not handed."""


def run_apart(module: str, request: Mapping[str, Any], place: Path) -> Path:
    """Run a module of this package in a process of its own; the folder that it left its answer in.

    request: JSON-like, for ``asked``. place: an empty folder, for its caches and its answer; it is also where
    the process runs. Raises EhrbenchError with the process's own last line where it refuses.
    """
    for folder in ("home", "scratch", "cache", "answer"):
        (place / folder).mkdir()
    (place / "request.json").write_text(json.dumps(dict(request)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", module, str(place)],
        env=_environment(place),
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what a model prints is no result
        check=False,
    )
    refused = place / "refused"
    if refused.exists():
        raise OutsideLooked(refused.read_text(encoding="utf-8"))
    if done.returncode:
        raise StorageError(
            f"{module}: a process of its own ended early (exit code {done.returncode}) — it says why above"
        )
    return place / "answer"


def asked(place: Path) -> dict[str, Any]:
    """What this process was asked to do."""
    content: dict[str, Any] = json.loads((place / "request.json").read_text(encoding="utf-8"))
    return content


def _environment(place: Path) -> dict[str, str]:
    """This process's, with caches of its own; packages and published weights stay where they are."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = {name: os.environ.get(name) or str(cache / folder) for name, folder in _HUBS.items()}
    own = {
        "HOME": "home", "TMPDIR": "scratch", "TEMP": "scratch", "TMP": "scratch",
        "XDG_CACHE_HOME": "cache", "EHRBENCH_CACHE": "cache", "MPLCONFIGDIR": "cache",
    }  # fmt: skip
    return {
        **os.environ,
        **kept,
        **{name: str(place / folder) for name, folder in own.items()},
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "PYTHONUSERBASE": site.getuserbase(),
    }


def confine(place: Path, named: Iterable[str | Path] = ()) -> list[str]:
    """Refuse this process, from now on, what it was not handed; the list of what it looked for, as it grows.

    place: its own folder. named: files and folders that its configuration names for models. A look raises
    OutsideLooked; a model may swallow that, so whoever confines looks at the list in the end.
    """
    hubs = [os.environ[name] for name in _HUBS if name in os.environ]
    own = [place, *named, *hubs, Path(ehrbench.__file__).parent, sys.prefix, sys.base_prefix, *_SYSTEM]
    handed = tuple(os.path.realpath(path) for path in own)
    looked: list[str] = []

    def refuse(what: str) -> None:
        looked.append(what)
        raise OutsideLooked(f"{what}, which it was not handed")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS:
            refuse(f"starts another program ({_shown(arguments[0])})")
        if event == "socket.connect":
            refuse(f"connects to {_shown(arguments[1])}")
        if event not in ("open", "sqlite3.connect") or not isinstance(
            arguments[0], str | bytes | os.PathLike
        ):
            return
        if event == "open" and _writes_only(*arguments[1:3]):
            return
        path = os.path.realpath(os.fsdecode(arguments[0]))  # text: this runs at every import
        if not (_within(path, handed) or _is_code(path)):
            refuse(f"reads {path}")

    sys.addaudithook(hook)
    return looked


def answer(place: Path, looked: Iterable[str], who: str) -> None:
    """Say what was looked for, for ``run_apart``, where anything was."""
    if first := next(iter(looked), None):
        (place / "refused").write_text(f"{who} {first}, which it was not handed", encoding="utf-8")


def _writes_only(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return not ({"r", "+"} & set(mode))
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) == os.O_WRONLY


def _is_code(path: str) -> bool:
    folder, _, name = path.rpartition(os.sep)
    return name.endswith(_CODE) or folder.endswith(_INSTALLED)


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _shown(value: Any) -> str:
    return str(value)[:80]
