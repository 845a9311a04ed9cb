"""What made a figure: of code that no commit has, the text itself."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from ehrbench.app.search.searching import search
from ehrbench.app.wired import study_code
from ehrbench.app.wired.provenance import uncommitted
from ehrbench.core import plugins
from tests.spine.composing import tiny_config


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A plugin ``ward`` in a repository of its own: a module committed, one changed since, one not added."""
    folder = tmp_path / "repository" / "ward"
    folder.mkdir(parents=True)
    texts = {"__init__": "", "kept": "A = 1\n", "changed": "B = 1\n", "added": "C = 1\n"}
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "__init__.py", "kept.py", "changed.py"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    (folder / "changed.py").write_text("B = 2\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    study_code._folders.cache_clear()  # another test's ward lay elsewhere
    return folder


def test_modules_that_no_commit_has_are_named_with_their_digest(package):
    found = uncommitted(["ward", "ward.kept", "ward.changed", "ward.added", "numpy"])
    assert [(one.module, one.why) for one in found] == [
        ("ward.added", "untracked"),
        ("ward.changed", "changed"),
    ]
    assert found[0].sha256 == hashlib.sha256(b"C = 1\n").hexdigest()


def test_ignored_modules_and_those_in_no_repository_are_named_too(package, tmp_path, monkeypatch):
    (package / ".gitignore").write_text("added.py\n")
    assert [one.module for one in uncommitted(["ward.added"])] == ["ward.added"]
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "alone.py").write_text("D = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "loose"))
    assert [one.why for one in uncommitted(["alone"])] == ["in no repository"]


def test_a_run_keeps_the_text_of_a_model_that_was_never_committed(package, tmp_path, monkeypatch):
    text = "from ehrbench.models.logistic import Logistic\n\n\nclass Own(Logistic):\n    pass\n"
    (package / "own.py").write_text(text)
    monkeypatch.setenv(plugins.NAMED, "ward")
    config = tiny_config("findings", tmp_path / "runs", "models=[logistic]", "n_trials=1")
    logistic = config["model"]["logistic"]
    own = logistic | {"build": logistic["build"] | {"_target_": "ward.own.Own"}}
    search(config | {"model": {"own": own}, "study_name": "kept"})
    run = tmp_path / "runs" / "kept"
    said = json.loads((run / "summary.json").read_text())["code"]["uncommitted"]
    assert said["ward.own"] == {"sha256": hashlib.sha256(text.encode()).hexdigest(), "why": "untracked"}
    assert (run / "code" / "ward.own.py").read_text() == text
    assert "code/ward.own.py" in json.loads((run / "checksums.json").read_text())
    assert "ward.own (untracked, SHA-256" in (run / "report.html").read_text()
