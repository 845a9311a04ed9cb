"""Machines whose locale is not UTF-8: what one wrote the other reads, and nothing ends in an encoding's name.

A search made under UTF-8 is gone on with under ASCII and Latin-1: the same code must have the same digest
there. Python itself takes UTF-8 in the C locale, so ASCII is insisted on, as an odd server's set-up does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality
from tests.app.processes import ROOT, SMALL

SEARCH = [str(ROOT / "experiments" / "search.py"), *SMALL, "data.sets=[a]", "trainer.accelerator=cpu"]
EHRBENCH = ["-m", "ehrbench.app.command.cli"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and runs of a search under UTF-8."""
    folder = tmp_path_factory.mktemp("locale")
    PhysioNet2012(Mortality()).simulate(folder / "data", 280, seed=1)
    code, output = run(folder, {"PYTHONUTF8": "1"}, *SEARCH, "study_name=s", "n_trials=1")
    assert code == 0, output
    return folder


@pytest.fixture(scope="module", params=["ASCII", "ISO-8859-1"])
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale."""
    of_python = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if request.param == "ASCII":
        return {"LC_ALL": "C", **of_python}
    if shutil.which("localedef") is None:
        pytest.skip("no localedef")
    folder = tmp_path_factory.mktemp("locales")
    made = folder / f"en_US.{request.param}"
    done = subprocess.run(["localedef", "-i", "en_US", "-f", request.param, made], capture_output=True)
    if not made.is_dir():
        pytest.skip(f"localedef cannot make it: {done.stderr!r}")
    return {"LC_ALL": made.name, "LOCPATH": str(folder), **of_python}


def run(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command that is run in ``folder``."""
    where = {"EHRBENCH_DATA": "data", "EHRBENCH_CACHE": "cache", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **where, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=500,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def test_it_is_another_encoding(locale, place):
    name = "import locale, sys; print(locale.getpreferredencoding(), sys.stdout.encoding)"
    _, output = run(place, locale, "-c", name)
    assert not {"UTF-8", "utf-8"} & set(output.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [*SEARCH, "study_name=s", "n_trials=1"],
        [*EHRBENCH, "certify", "runs/s"],
        [*EHRBENCH, "explain", "runs/s", "--records", "5"],
        [*EHRBENCH, "report", "runs/s"],
        [*EHRBENCH, "study", "status"],
        [*EHRBENCH, "study", "doctor"],
        [str(ROOT / "experiments" / "predict.py"), "bundle=runs/s/bundle", "output=out.csv", "input=one.txt"],
    ],
    ids=["search", "certify", "explain", "report", "status", "doctor", "predict"],
)
def test_what_utf8_wrote_is_read_and_gone_on_with(arguments, locale, place):
    (place / "one.txt").write_bytes(Mortality().example().body)
    code, output = run(place, locale, *arguments)
    assert code == 0, output
    assert "Traceback" not in output


def test_what_is_printed_beyond_the_encoding_is_spelled_out(locale, place):
    """Damage that the doctor tells of on standard output, with a dash that the encoding has not."""
    artifacts = place / "damaged" / "artifacts"
    shutil.rmtree(place / "damaged", ignore_errors=True)
    shutil.copytree(place / "runs", place / "damaged")
    for file in artifacts.rglob("*"):
        if file.is_file():
            file.unlink()
    _, output = run(place, locale, *EHRBENCH, "study", "doctor", "--runs-dir", "damaged")
    assert "\\u2014" in output
    assert "Traceback" not in output


def test_a_path_that_is_no_text_there_is_named(place):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, output = run(place, ascii_only, *SEARCH, "runs_dir=é")
    assert (code, len(output.splitlines())) == (2, 1)
    assert output.startswith("ehrbench: runs_dir: is no text in ascii, the encoding of this locale")
    code, output = run(place, {"PYTHONUTF8": "1"}, *EHRBENCH, "report", os.fsdecode(b"s\xff"))
    assert (code, len(output.splitlines())) == (2, 1)
    assert "is no text in utf-8" in output
