"""Entry: what every Hydra script shares. A user's fault ends in one line, a fault of ours in a traceback."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ehrbench.app.composed.conf import conf_folders
from ehrbench.app.composed.sweeping import check_sweep, sweeps
from ehrbench.core import plugins
from ehrbench.core.errors import ConfigError, EhrbenchError, check_once
from ehrbench.infra.settings import Environment, refuse_bytes

if TYPE_CHECKING:
    from hydra.errors import CompactHydraException

#: Exit status after Ctrl-C, as shells have it.
INTERRUPTED = 130
#: After which an interrupt that was swallowed is repeated, in seconds.
AGAIN_S = 0.1


def start(command: str, main: Callable[[], object]) -> None:
    """Run a command's ``main`` by Hydra; what Hydra cannot compose ends in one line of ours."""
    from hydra.errors import CompactHydraException  # the command ehrbench does without Hydra

    begin(command)
    sys.argv[1:1] = [f"hydra.job.name={command}"]  # may be overridden by what follows
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises what it would print
    try:
        main()
    except CompactHydraException as error:
        _end(not_composed(error))
    except KeyboardInterrupt as interrupt:  # while modules are imported
        _stop(interrupt)


def not_composed(error: CompactHydraException) -> ConfigError:
    """Hydra's refusal in our words. Its advice to add an unknown key with a + would only be refused later."""
    from hydra.errors import MissingConfigException, OverrideParseException

    lines = str(error).splitlines()
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group == "task":
            remedy = "your own file goes with task=table data.file=FILE task.label=COLUMN; else choose among "
            return ConfigError(group, f"there is no {name!r}", remedy + ", ".join(error.options))
        return ConfigError(group, f"there is no {name!r}", f"choose among {', '.join(error.options)}")
    if isinstance(error, OverrideParseException):
        said = [line for line in lines[1:] if not line.startswith("See ")]
        remedy = "write key=value, in quotes where the shell has a use for its characters"
        return ConfigError(error.override.partition("=")[0], f"cannot be read ({said[-1]})", remedy)
    if unknown := re.match(r"Could not override '(.+)'", lines[0]):
        guess = re.search(r"Did you mean: '(.+?)'", str(error.__cause__))
        remedy = (f"did you mean {guess[1]}? " if guess else "") + "--cfg job shows all keys"
        return ConfigError(unknown[1], "unknown key", remedy)
    return ConfigError("configuration", " ".join(str(error).split()), "--cfg job shows all keys")


def begin(command: str = "") -> None:
    """What comes before Hydra: settings of ``.env`` (the environment goes first), and ``for_hydra``.

    SIGTERM (a container that stops) is taken as Ctrl-C is: tickets are given back.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    spell_unprintable()
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # a fresh machine's fonts are no news
    try:
        Environment.load(Path(".env"), os.environ)
        sys.argv = for_hydra(sys.argv)
        if command:
            check_sweep(command, sys.argv)
    except EhrbenchError as error:
        _end(error)


def for_hydra(arguments: list[str]) -> list[str]:
    """A command line as Hydra can compose it: models spelled out, plugins in use, texts quoted."""
    from ehrbench.app.composed.overrides import as_texts  # the command ehrbench does without Hydra

    arguments = spell_out(arguments)
    check_text(arguments)
    arguments = with_plugins(arguments)
    check_models(arguments)
    return as_texts(of_task(arguments))


def spell_unprintable() -> None:
    """What standard output cannot encode stands there as on standard error (\\u2014), and ends nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def check_text(arguments: list[str]) -> None:
    """ConfigError for an argument that is no text, as a path in another encoding than the locale's is."""
    for argument in arguments[1:]:
        refuse_bytes(argument.partition("=")[0], argument)


def with_plugins(arguments: list[str]) -> list[str]:
    """The command line with the plugins' folders of YAML among those where Hydra looks.

    Plugins that it names are in use from here on. Raises ConfigError for one that is not here.
    """
    for argument in arguments:
        if named := re.fullmatch(r"plugins=\[?([^\[\]]*)\]?", argument):
            plugins.use(name.strip("\"' ") for name in named[1].split(",") if name.strip("\"' "))
    path = "hydra.searchpath="
    if not (folders := plugins.configurations()) or any(a.startswith(path) for a in arguments):
        return arguments  # a worker has them from the command that started it
    quoted = ",".join("'file://" + str(f).replace("\\", "\\\\").replace("'", "\\'") + "'" for f in folders)
    return [*arguments, f"{path}[{quoted}]"]


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _heed_launcher() -> None:
    """In a job of submitit (SLURM), take the end of its time and SIGTERM as Ctrl-C, too.

    submitit runs no ``begin``, ignores SIGTERM, and answers SIGUSR2, which comes before the end, with an
    exception in the midst of training, which would count as the trial's own failure. Its handler still goes
    first: it asks SLURM to start the job again where ``max_num_timeout`` allows.
    """
    warned = signal.getsignal(signal.SIGUSR2)
    if not callable(warned):
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for another in (signal.SIGTERM, signal.SIGUSR2):  # what comes while tickets are given back
            signal.signal(another, signal.SIG_IGN)
        if number == signal.SIGUSR2:
            with suppress(Exception):
                warned(number, frame)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR2, stop)


@contextmanager
def _insisting() -> Iterator[None]:
    """Interrupt again where Python has swallowed an interrupt, as it does in destructors and callbacks.

    A stop that comes in the midst of one, of SQLAlchemy's say, would otherwise be lost, and the worker
    train on until it is killed, its trial kept from others until the lease is over. What is still to
    be repeated when the work is done comes here and now: later it would meet an exit hook of some library.
    """
    before, handler = sys.unraisablehook, signal.getsignal(signal.SIGALRM)

    def ignored(what: Any) -> None:
        if what.exc_type is not KeyboardInterrupt:
            before(what)
            return
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)

    sys.unraisablehook = ignored
    waiting = 0.0
    try:
        yield
    finally:
        sys.unraisablehook = before
        waiting, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    if waiting:
        raise KeyboardInterrupt


def spell_out(arguments: list[str]) -> list[str]:
    """``models=[a,b]`` and ``model=a`` as Hydra's ``model=[a,b]`` and ``model=[a]``: a search has several.

    With ``-m``, ``model=a,b`` is two jobs of one model each, as Hydra's users expect: ``model=[a],[b]``.
    """
    several = sweeps(arguments)
    spelled = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in ("models", "model") and not value.startswith("$"):
            if not value.startswith("["):
                value = f"[{value.replace(',', '],[')}]" if several and name == "model" else f"[{value}]"
            argument = f"model={value}"
        spelled.append(argument)
    return spelled


def _in_lists(change: Callable[[list[str]], list[str]], argument: str) -> str:
    """``model=[a,b]``, or several such lists of a sweep, with the names of each list changed."""
    if not re.fullmatch(r"model=\[[\w, ]*\](,\[[\w, ]*\])*", argument):
        return argument

    def changed(found: re.Match[str]) -> str:
        return f"[{','.join(change([name.strip() for name in found[1].split(',')]))}]"

    return re.sub(r"\[([\w, ]*)\]", changed, argument)


def of_task(arguments: list[str]) -> list[str]:
    """Models that the task has a YAML of its own for (conf/model/<task>/<model>.yaml) named as these.

    It takes the general one's place, whole: what suits heart beats is no amendment to what suits stays.
    """
    named = {name: value for name, _, value in (argument.partition("=") for argument in arguments)}
    task = named.get("task") or _task_of(named.get("experiment") or named.get("+experiment"))
    own = {path.stem for folder in conf_folders() for path in (folder / "model" / task).glob("*.yaml")}

    def spelled(names: list[str]) -> list[str]:
        return [f"{task}/{name}" if name in own else name for name in names]

    return [_in_lists(spelled, argument) for argument in arguments]


def _task_of(experiment: str | None) -> str:
    """The task of an experiment's YAML, ours or a plugin's, or of conf/config.yaml."""
    folders = conf_folders()
    experiments = [folder / "experiment" / f"{experiment}.yaml" for folder in folders]
    for path in [*experiments, folders[0] / "config.yaml"]:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if found := re.search(r"^\s*- (?:override /)?task: (\w+)", text, re.MULTILINE):
            return found[1]
    return ""


def check_models(arguments: list[str]) -> None:
    """ConfigError for a model named twice, which Hydra would take as named once, and for one without a YAML.

    Hydra would name the latter, too, but not those there are.
    """
    known = sorted({path.stem for folder in conf_folders() for path in (folder / "model").rglob("*.yaml")})
    elsewhere = any(argument.startswith(("--config-dir", "-cd")) for argument in arguments)  # may be more

    def checked(names: list[str]) -> list[str]:
        check_once("models", [name for name in names if name])
        for name in names:
            if name and name not in known and not elsewhere:
                problem = f"there is no model {name!r}"
                raise ConfigError("models", problem, f"choose among {', '.join(known)}")
        return names

    for argument in arguments:
        _in_lists(checked, argument)


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration with every interpolation filled in; ConfigError names what is missing."""
    try:
        content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = str(getattr(error, "full_key", "") or "configuration")
        raise ConfigError(
            key, str(error).splitlines()[0], f"give it on the command line: {key}=..."
        ) from error
    assert isinstance(content, dict)
    return {str(k): v for k, v in content.items()}


def guarded(run: Callable[[Mapping[str, Any]], float | None], config: DictConfig) -> float | None:
    """``run`` on the resolved configuration; errors of the user's end the process with one line."""
    _heed_launcher()
    try:
        with _insisting():
            return run(resolved(config))
    except EhrbenchError as error:
        _end(error)
    except KeyboardInterrupt as interrupt:
        _stop(interrupt)


def _stop(interrupt: KeyboardInterrupt) -> NoReturn:
    """A word on being stopped, and what of it: the interrupt's own text, where it has one."""
    print(" ".join(["stopped.", *map(str, interrupt.args)]), file=sys.stderr, flush=True)
    raise SystemExit(INTERRUPTED) from None


def _end(error: EhrbenchError) -> NoReturn:
    print(f"ehrbench: {error}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None
