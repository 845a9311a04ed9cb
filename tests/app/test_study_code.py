"""The code that a study uses: what its parts import and no more, told by what runs, not how it is written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ehrbench
from ehrbench.app.wired import study_code as module
from ehrbench.app.wired.study_code import NO_SOURCE, bare, sources


def test_comments_docstrings_and_layout_do_not_count():
    one = bare('"""Text."""\ndef f(x):\n    """More."""\n    return x + 1\n')
    other = bare("def f(x):  # why\n    return (x\n        + 1)\n")
    assert one == other


def test_what_runs_counts():
    assert bare("def f(x):\n    return x + 1\n") != bare("def f(x):\n    return x + 2\n")


def test_a_model_is_what_it_imports():
    found = sources("ehrbench.models.lstm")
    assert {
        "ehrbench.models.lstm",
        "ehrbench.models.training",
        "ehrbench.nets.lstm",
        "ehrbench.core.views",
    } <= {*found}
    assert not {"ehrbench", "ehrbench.models.ssm", "ehrbench.nets.vit", "ehrbench.metrics.auroc"} & {*found}
    assert [
        name for name in found if name.startswith(("ehrbench.app", "ehrbench.spine", "ehrbench.infra"))
    ] == []
    assert found == sources("ehrbench.models.lstm")


def test_what_is_there_for_type_checkers_alone_does_not_count():
    """models/export.py names a network's type, and a linear model needs its description only."""
    assert not [name for name in sources("ehrbench.models.logistic") if name.startswith("ehrbench.nets")]


def test_every_import_that_python_makes_is_seen():
    show = "import sys, ehrbench.models.lstm; print(*(n for n in sys.modules if n.startswith('ehrbench.')))"
    made = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    imported = set(made.stdout.split())
    assert len(imported) > 15
    assert imported <= set(sources("ehrbench.models.lstm"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``clinic`` of four modules, in a folder of its own."""
    root = tmp_path / "clinic"
    (root / "deep").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "deep" / "__init__.py").write_text("from . import layers as layers\n")
    (root / "deep" / "layers.py").write_text("WIDTH = 3\n")
    (root / "model.py").write_text("def build():\n    from .deep import layers\n    return layers.WIDTH\n")
    (root / "other.py").write_text("import clinic.model\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield root
    _forget()


def _forget() -> None:
    for cached in (module._digest, module._imports, module._folders):
        cached.cache_clear()


def test_relative_and_late_imports_are_followed(package):
    assert [*sources("clinic.model")] == ["clinic", "clinic.deep", "clinic.deep.layers", "clinic.model"]
    assert "clinic" not in sys.modules  # read, never run


def test_a_change_of_what_is_used_shows_in_its_place_and_a_new_file_does_not(package):
    before = sources("clinic.model")
    (package / "new.py").write_text("WIDTH = 5\n")
    (package / "other.py").write_text("import clinic.new\n")
    _forget()
    assert sources("clinic.model") == before
    (package / "deep" / "layers.py").write_text("WIDTH = 4\n")
    _forget()
    after = sources("clinic.model")
    assert [name for name in after if after[name] != before[name]] == ["clinic.deep.layers"]


def test_a_module_without_text_says_so(package):
    assert sources("clinic.nowhere")["clinic.nowhere"] == NO_SOURCE


def test_a_copy_elsewhere_is_the_same_code(tmp_path):
    """No path is in a digest."""
    here = Path(ehrbench.__file__).parent
    shutil.copytree(here, tmp_path / "ehrbench", ignore=shutil.ignore_patterns("__pycache__"))
    before = sources("ehrbench.models.lstm")
    module._folders.cache_clear()
    found = module.find_spec
    try:
        module.find_spec = lambda top: type("Spec", (), {"submodule_search_locations": [str(tmp_path / top)]})
        assert sources("ehrbench.models.lstm") == before
    finally:
        module.find_spec = found
        module._folders.cache_clear()
