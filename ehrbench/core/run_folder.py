"""A run's folder, ``<runs_dir>/<study_name>/``: what a search leaves there, and where and whose it is.

summary.json      every figure, with intervals (schema in app.outputs)
predictions.csv   record, unit, class, label, outer_fold, model, probability: of the outer tests
records.csv       record, group, set, subgroup.<name>…, flag.<name>…: of all records; how many of its units
                  have a class (outcome.<class>…) and, where it has several, a known label (labelled.<class>…)
skipped.csv       file, record, field, problem: of the publisher's rows that were left out
trials.csv        model, outer_fold, ticket, state, attempt, value, seconds, folds, best_steps, params,
                  error: one row a trial
config.yaml       the resolved configuration, places in full
slices.json       which measured values go with wrong calls (see statistics.discovery)
certificate.json  what no outer test touched, and the digests of the files above (see spine.certificate)
bundle/           the winner (see core.bundle), with its MODEL_CARD.md
explanations.json what the outer-test predictions rest on (docs/explanations.md)
report.html       all of it as one page
code/             modules that no commit has as they ran, by name
figures/          the page's figures, each as an SVG
failures/         a traceback for each part of the page, or file above, that could not be made
seal.json         the seals before, the budget spent, and a digest of all trials (see app.sealing)
checksums.json    SHA-256 of all of these (see app.sealing)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ehrbench.core.errors import BundleError
from ehrbench.core.files import CHECKSUMS

SUMMARY, CONFIG = "summary.json", "config.yaml"
PREDICTIONS, RECORDS, SKIPPED, TRIALS = "predictions.csv", "records.csv", "skipped.csv", "trials.csv"
SLICES, EXPLANATIONS = "slices.json", "explanations.json"
CERTIFICATE, CHAIN = "certificate.json", "seal.json"
REPORT, FIGURES, BUNDLE, FAILURES = "report.html", "figures", "bundle", "failures"
CODE = "code"

#: What the certificate holds the digests of; the seal covers the rest.
CERTIFIED = (SUMMARY, PREDICTIONS, RECORDS, SKIPPED, TRIALS, CONFIG)
#: What ``ehrbench report`` and ``ehrbench explain`` write, as patterns.
PAGE = (REPORT, f"{FIGURES}/*.svg", f"{FAILURES}/report-*.txt")
EXPLAINED = (EXPLANATIONS, f"{FAILURES}/explanations.txt")
#: What is sealed: all that a search writes, as patterns; a pattern need not be there.
SEALED = (
    *(*CERTIFIED, SLICES, CERTIFICATE, CHAIN, f"{BUNDLE}/{CHECKSUMS}", *EXPLAINED, *PAGE),
    *(f"{FAILURES}/slices.txt", f"{FAILURES}/card.txt", f"{CODE}/*.py"),
)
#: What the tracker gets, beside the bundle; trials are runs of their own there, and records stay here.
TRACKED = (
    SUMMARY,
    PREDICTIONS,
    REPORT,
    CONFIG,
    CERTIFICATE,
    EXPLANATIONS,
    SLICES,
    CHECKSUMS,
    FIGURES,
)


@dataclass(frozen=True)
class RunFolder:
    """One run, known by the name of its search, whatever its folder is called now and from where it is seen.

    path: absolute, links followed.
    """

    path: Path
    name: str

    @staticmethod
    def open(folder: Path) -> RunFolder:
        """The finished run in ``folder``. Raises BundleError where there is none."""
        path = folder.resolve()
        above = path.parent if (path.parent / SUMMARY).is_file() else None
        remedy = f"name the run's folder, {above}" if above else f"is {path} a finished run?"
        if not (path / CONFIG).is_file():
            raise BundleError(f"{path / CONFIG}: missing — {remedy}")
        try:
            summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
            return RunFolder(path, str(summary["study_name"]))
        except OSError as error:
            raise BundleError(f"{path / SUMMARY}: cannot be read ({error.strerror}) — {remedy}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path / SUMMARY}: altered or not a summary — {remedy}") from error

    @property
    def bundle(self) -> Path:
        return self.path / BUNDLE

    def __truediv__(self, name: str) -> Path:
        return self.path / name
