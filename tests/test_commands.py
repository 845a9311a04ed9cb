"""Every command that a page or a comment shows is one that the entry points take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ehrbench.app.command.cli import build_parser
from ehrbench.app.composed.conf import CONF
from ehrbench.app.composed.entry import check_models, spell_out

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"
#: adding.md's commands run in ``test_adding``.
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")} - {ROOT / "docs" / "adding.md"})
PAGES += [*sorted((ROOT / "experiments").rglob("*.md")), *sorted((ROOT / "experiments").glob("*.py"))]
PAGES += [*sorted((ROOT / "scripts").glob("*.sh")), *sorted(CONF.rglob("*.yaml")), COMPOSE]
CONFIGS = {"search": "config", "train": "config", "evaluate": "evaluate", "predict": "predict"}
CONFIGS |= {"pipeline run": "pipeline", "pipeline schedule": "pipeline"}
SERVICES = {"search": "search", "train": "train", "evaluate": "evaluate", "infer": "predict"}
_COMMAND = re.compile(
    r"(?:python experiments/|ehrbench \w+ |scripts/worker\.sh -n |docker compose run )[^`\n]*"
)
#: How a line of a code block or a comment begins that is a command; others show commands within backticks.
_BEGINS = re.compile(r"\W*([A-Z_]+=\S+ )?(python|ehrbench|scripts/|docker) ?")
#: No command to be typed: optional parts, alternatives, lines of a script.
_USAGE = re.compile(r"\.\.\.|…|\[-|\||\$")
#: What the launchers and sweepers take, and Hydra's own flags.
_SWEEP = re.compile(r"range\(|^-|^job$|^hydra[/.](launcher|sweeper)")


def shown() -> Iterator[tuple[str, str]]:
    """(page, command), without its comment."""
    for page in PAGES:
        text = re.sub(r"\\\\?\n[#\s]*", "", page.read_text())  # a command over several lines
        for line in text.splitlines():
            for found in _COMMAND.findall(line) if "`" in line or _BEGINS.match(line) else ():
                if not _USAGE.search(found):
                    words = shlex.split(re.sub(r" {3,}.*", "", found), comments=True)
                    yield page.relative_to(ROOT).as_posix(), " ".join(words)


COMMANDS = list(dict.fromkeys(shown()))


def test_they_are_found() -> None:
    assert len(COMMANDS) > 30
    assert {page for page, _ in COMMANDS} >= {
        "README.md",
        "docs/serving.md",
        "docs/storage.md",
        "docker-compose.yml",
    }


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda text: text.replace("/", "."))
def test_it_is_taken(page: str, command: str) -> None:
    words = command.split()
    if words[0] == "ehrbench" and " ".join(words[1:3]) in CONFIGS:
        name, overrides = " ".join(words[1:3]), words[3:]
    elif words[0] == "ehrbench" and words[1] in CONFIGS:
        name, overrides = words[1], words[2:]
    elif words[0] == "ehrbench":
        build_parser().parse_args(words[1:])
        return
    elif words[0] == "docker":
        service = words[4]
        assert service in yaml.safe_load(COMPOSE.read_text())["services"]
        name, overrides = SERVICES[service], words[5:]
    elif words[0] == "scripts/worker.sh":
        name, overrides = "search", words[3:]
    else:
        name, overrides = Path(words[1]).stem, words[2:]
    spelled = spell_out(overrides)
    check_models(spelled)
    taken = [word for word in spelled if not _SWEEP.search(word)]
    with initialize_config_dir(str(CONF)):
        config = compose(CONFIGS[name], overrides=taken)
    assert OmegaConf.to_container(config)
