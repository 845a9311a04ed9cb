"""The section of explanations: what is shown of the file, and what is said where there is none to show."""

import json

import pytest

from ehrbench.core.bundle import file_digest
from ehrbench.core.errors import BundleError
from ehrbench.report.explained import explanations
from ehrbench.report.run import read_run

PARAMETERS = {"GCS": {"value": 0.3, "missingness": 0.1}, "Age": {"value": 0.2, "missingness": 0.0}}
EXAMPLE = {
    "which": "median risk",
    "record": "r1",
    "unit": 0,
    "outcome": False,
    "probability": 0.2,
    "course": [0.1, 0.2],
    "measurements": [3, 0],
    "contributions": {"ssm": {"GCS": {"value": -0.5, "missingness": 0.1}}},
}
CONTENT = {
    "schema": 1,
    "n_records": 12,
    "n_permuted": 60,
    "permutation": {
        "metric": "auroc",
        "repeats": 2,
        "drops": {"ensemble": {"GCS": [0.1, 0.12], "Age": [0, 0.02]}},
    },
    "attributions": {
        "ssm": {
            "method": "integrated gradients",
            "gap": 1e-4,
            "parameters": PARAMETERS,
            "hours": {"GCS": {"value": [0.1, 0.2], "missingness": [0.0, 0.1]}},
        },
        "lstm": {"why": "its view holds missing values"},
    },
    "course": {
        "class": "death",
        "hours": [1, 2],
        "outcomes": {"with": {"n": 5, "mean": [0.2, 0.4], "low": [0.1, 0.2], "high": [0.4, 0.6]}},
    },
    "examples": [EXAMPLE],
}


@pytest.fixture
def shown(folder):
    def write(**changes):
        content = CONTENT | {"predictions": file_digest(folder / "predictions.csv")} | changes
        (folder / "explanations.json").write_text(json.dumps(content))
        return explanations(read_run(folder), "m0")

    return write


def test_every_figure_of_a_whole_file(shown):
    found = shown()
    assert found.why is None
    assert found.worth == (("GCS", pytest.approx(0.11)), ("Age", pytest.approx(0.01)))
    assert found.missingness == {"ssm": pytest.approx(0.1 / 0.6)}
    ids = [f.id for f in (*found.overall, *found.examples)]
    assert ids == ["permutation", "course", "attribution-ssm", "hours-ssm", "attribution-lstm",
                   "example-course-0", "example-parts-0"]  # fmt: skip
    (without,) = [f for f in found.overall if f.svg is None]
    assert without.why == "Its view holds missing values."


def test_the_colours_of_the_heat_map_have_a_scale_in_numbers(shown):
    (heat,) = [f for f in shown().overall if f.id == "hours-ssm"]
    assert heat.svg.count('y="3" width="9" height="12"') == 2 * 8
    assert (
        heat.svg.count(">0.2</text>") == heat.svg.count(">0</text>") - 1 == 2
    )  # the axis of time has a 0, too
    assert "log-odds" in heat.caption


def test_no_metric_and_no_times_are_said_in_words(shown):
    found = shown(permutation={"why": "one class only"}, course={"why": "no times"})
    assert [f.why for f in found.overall[:2]] == ["One class only.", "No times."]
    assert found.worth == ()


def test_a_run_without_them_says_how_to_make_them(binary):
    assert f"ehrbench explain {binary.folder.name}" in str(explanations(binary, "m0").why)


def test_explanations_of_other_predictions_are_not_shown(shown):
    assert "goes with other predictions" in str(shown(predictions="0" * 64).why)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "not of schema 1"),
        ({"examples": [{"which": "median risk"}]}, "malformed"),
        ({"attributions": []}, "malformed"),
    ],
)
def test_a_malformed_file_is_refused_by_name(shown, changes, message):
    with pytest.raises(BundleError, match=f"explanations.json: .*{message}"):
        shown(**changes)


def test_what_is_no_json_is_refused(folder):
    (folder / "explanations.json").write_text("{")
    with pytest.raises(BundleError, match="is not JSON"):
        explanations(read_run(folder), "m0")
