"""What the page says of the certificate: that it holds, that it does not and where, or that there is none."""

import json

import pytest

from ehrbench.core.errors import BundleError
from ehrbench.report import write_report
from tests.report.reading import words


def test_what_the_certificate_states_is_shown(binary_folder):
    text = words(write_report(binary_folder, n_bootstrap=5).read_text())
    assert "✓ holds : in every outer fold, no outer-test record was handed out" in text
    assert text.count("✓ holds") == 1 + 4  # three outer folds and the bundle's
    assert "0: 400 training, 200 test records; fold digest 000000000000 ✓ holds" in text
    assert "fit: features, scaling, imputation, model 400 0 111111111111" in text
    assert "test: predicted by the finished procedure 200 200 222222222222" in text
    assert "ehrbench certify RUN" in text


def handed_out(certificate):
    certificate["folds"][1]["purposes"]["stack"]["outer_test_records"] = 3


def other_folds(certificate):
    certificate["folds"][0]["digest"] = "f" * 64


def other_test_records(certificate):
    certificate["folds"][2]["purposes"]["test"]["digest"] = "f" * 64


def other_data(certificate):
    certificate["data_digest"] = "f" * 64


def folds_missing(certificate):
    certificate["folds"].pop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (handed_out, "fold 1: 3 outer-test records were handed out for stack"),
        (other_folds, "fold 0: its records are not those in summary.json"),
        (other_test_records, "fold 2: the records predicted are not its outer test"),
        (other_data, "it is of another study or of other data"),
        (folds_missing, "it speaks of folds 0, 1, 2, and the summary of 0, 1, 2, all"),
    ],
)
def test_a_certificate_that_does_not_hold_is_said(folder, change, said):
    path = folder / "certificate.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    text = words(write_report(folder, n_bootstrap=5).read_text())
    assert f"✗ fails : {said}" in text
    assert "✓ holds :" not in text


def test_a_file_altered_after_the_certificate_is_said(folder):
    with (folder / "trials.csv").open("a") as file:
        file.write("ssm,0,99,failed,1,,1.0,[],[],{},made for the test\n")
    assert "✗ fails : trials.csv was altered since" in words(write_report(folder, n_bootstrap=5).read_text())


@pytest.mark.parametrize("content", [None, "{", "[]", '{"study_name": "x"}'])
def test_no_certificate_is_said(folder, content):
    path = folder / "certificate.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(BundleError, match=r"certificate\.json"):
        write_report(folder, n_bootstrap=5)
