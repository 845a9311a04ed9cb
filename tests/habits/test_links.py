"""Links and files that are no files: followed and written to, never replaced by a file of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ehrbench.app.command.cli import main
from ehrbench.core.errors import StorageError
from ehrbench.core.files import replacing
from tests.habits.conftest import SMALL, start


def write(path: Path, text: str = "new\n") -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_names_is_written(there, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "out.csv", tmp_path / "out.csv"
    if there:
        target.write_text("old", encoding="utf-8")
    link.symlink_to("elsewhere/out.csv")
    write(link)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new\n"
    assert [path.name for path in target.parent.iterdir()] == ["out.csv"]


def test_a_pipe_gets_what_was_written_once_it_is_whole(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    write(pipe)
    reader.join(30)
    assert got == ["new\n"]
    assert pipe.is_fifo()
    with pytest.raises(ZeroDivisionError), replacing(pipe) as temporary:  # nobody reads, nobody waits
        temporary.write_text(f"{1 / 0}", encoding="utf-8")


def test_a_device_stays_one(tmp_path):
    write(Path("/dev/null"))
    assert Path("/dev/null").is_char_device()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(
        StorageError, match=r"loop: cannot be written \(Too many levels of symbolic links\) — "
    ):
        write(loop)


@pytest.mark.parametrize("redirected", [">", ">>", "|"])
def test_standard_output_is_written_and_not_replaced(redirected, tmp_path):
    script = tmp_path / "write.py"
    script.write_text(
        "from pathlib import Path\nfrom tests.habits.test_links import write\n"
        "print('before', flush=True)\nwrite(Path('/dev/stdout'))\nprint('after')\n",
        encoding="utf-8",
    )
    out = tmp_path / "out.csv"
    out.write_text("first\n", encoding="utf-8")
    into = f"{redirected} out.csv" if redirected != "|" else "| cat >> out.csv"
    python = f"'{sys.executable}' write.py {into}"
    root = Path(__file__).resolve().parents[2]
    subprocess.run(python, shell=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)}, check=True)
    first = "" if redirected == ">" else "first\n"
    assert out.read_text(encoding="utf-8") == f"{first}before\nnew\nafter\n"


def test_records_are_predicted_to_standard_output(project):
    bundle, data = project / "runs" / "s" / "bundle", project / "data" / "physionet2012" / "set-b.tar.gz"
    code, out, error = start(
        "predict.py", f"bundle={bundle}", f"input={data}", "output=/dev/stdout", folder=project
    )
    assert code == 0, error
    assert out.startswith("record,unit,class,probability,decision\n")
    assert out.count("\n") == 71


def test_runs_and_data_behind_links(project, tmp_path, monkeypatch, capsys):
    """As on a cluster, where both lie on another disk than the project."""
    disk = tmp_path / "scratch"
    (disk / "runs" / "linked").mkdir(parents=True)
    (disk / "bundles" / "first").mkdir(parents=True)
    (disk / "runs" / "linked" / "bundle").symlink_to("../../bundles/first")
    here = tmp_path / "mine"
    here.mkdir()
    (here / "runs").symlink_to(disk / "runs")
    (here / "data").symlink_to(project / "data")
    code, _, error = start("search.py", *SMALL, "study_name=linked", folder=here)
    assert code == 0, error
    assert (disk / "runs" / "linked" / "bundle").is_symlink()
    assert (disk / "bundles" / "first" / "manifest.json").is_file()
    (tmp_path / "latest").symlink_to(here / "runs" / "linked")
    monkeypatch.chdir(tmp_path)
    for named in ("latest", "mine/runs/linked", "scratch/runs/linked"):
        assert main(["report", named]) == 0
        assert "not sealed" not in capsys.readouterr().out
        assert main(["certify", named]) == 0
    (here / "runs").unlink()  # what the search knew it by
    assert main(["certify", "scratch/runs/linked"]) == 0
