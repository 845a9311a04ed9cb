"""``ehrbench study …`` on a finished search of a tiny task."""

from __future__ import annotations

import csv

import pytest

from ehrbench.app.command.cli import main
from ehrbench.app.search.searching import search
from tests.spine.composing import tiny_config


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    search(tiny_config("beats", folder, "models=[logistic,lightgbm]"))
    return folder


def test_status_shows_every_study_and_its_budget(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "180")
    assert main(["study", "status", "--runs-dir", str(runs), "--n-trials", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("2/2") == 6
    assert "tiny-beats-nested/tiny-beats/logistic/fold0" in out


def test_doctor_finds_nothing_wrong_and_then_a_lost_artifact(runs, capsys):
    assert main(["study", "doctor", "--runs-dir", str(runs)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    main(["study", "export", str(runs / "fits.csv"), "--each", "fit", "--runs-dir", str(runs)])
    with (runs / "fits.csv").open() as file:
        digest = next(csv.DictReader(file))["predictions"]
    lost = runs / "artifacts" / digest[:2] / digest[2:]
    content = lost.read_bytes()
    lost.unlink()
    try:
        capsys.readouterr()
        assert main(["study", "doctor", "--runs-dir", str(runs)]) == 1
        out, error = capsys.readouterr()
        assert f"predictions {digest} missing" in out
        assert error.startswith("ehrbench: findings left: 1 of 1 — do what their lines say")
    finally:
        lost.write_bytes(content)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_has_a_row_for_each_ticket(suffix, runs, capsys):
    import pandas as pd

    output = runs / f"tickets.{suffix}"
    assert main(["study", "export", str(output), "--runs-dir", str(runs)]) == 0
    table = pd.read_csv(output) if suffix == "csv" else pd.read_parquet(output)
    assert len(table) == 12
    assert table["params.C"].notna().sum() == 6


def test_replay_trains_the_winners_again_to_the_same_bits(runs, capsys):
    assert main(["study", "replay", str(runs / "tiny-beats-nested")]) == 0
    out = capsys.readouterr().out
    assert out.count("same bits") == 4
    assert "OTHER" not in out


@pytest.mark.parametrize("verb", [["status"], ["doctor"], ["export", "nothing.csv"]])
def test_a_search_that_is_not_there_is_named_with_those_that_are(verb, runs, capsys):
    assert main(["study", *verb, "tiny", "--runs-dir", str(runs)]) == 2
    said = "ehrbench: study_name: there is no search 'tiny' — choose among tiny-beats-nested\n"
    assert capsys.readouterr().err == said


def test_what_is_not_there_is_named(tmp_path, capsys):
    assert main(["study", "status", "--runs-dir", str(tmp_path)]) == 2
    assert "no searches there" in capsys.readouterr().err
    assert main(["study", "replay", str(tmp_path)]) == 2
    assert "config.yaml: missing" in capsys.readouterr().err
