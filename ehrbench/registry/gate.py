"""The gate: whether a challenger may take the champion's place, check by check, with figures and limits.

Nothing is asked for that cannot be had of the two bundles, the challenger's certificate and the evidence;
without evidence a challenger is refused, whatever else holds. It judges and changes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from ehrbench.core.bundle import PARITY
from ehrbench.core.errors import BundleError
from ehrbench.registry.check import Check, judged_metric, on_predictions
from ehrbench.registry.evidence import Evidence
from ehrbench.registry.gate_limits import LatencyLimit, Limits
from ehrbench.registry.release import AGAINST, APPROVED, GATE, REFUSED
from ehrbench.runtime.bundle import Bundle

#: Predictions of the example that are timed, of each bundle, after so many that are not.
TIMED, WARMING = 30, 3


@dataclass(frozen=True)
class Verdict:
    """against: the champion's version, or "none"."""

    checks: tuple[Check, ...]
    against: str

    @property
    def approved(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why it is refused, one line each."""
        return [f"{check.name}: {check.told}" for check in self.checks if not check.passed]

    def tags(self) -> dict[str, str]:
        """What the version's tags get."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        told = {f"{GATE}.{check.name}": json.dumps(check.to_dict()) for check in self.checks}
        verdict = APPROVED if self.approved else REFUSED
        return {**told, f"{GATE}.at": now, AGAINST: self.against, GATE: verdict}


def judge(
    challenger: Bundle,
    champion: Bundle | None,
    evidence: Evidence | str,
    certificate: Mapping[str, Any] | None,
    searched: str,
    limits: Limits,
    against: str,
) -> Verdict:
    """Every check. evidence: or why there is none; searched: the metric of the challenger's search."""
    checks: list[Check] = [_cohort(challenger, limits)]
    if isinstance(evidence, str):
        checks.append(Check("evidence", False, None, None, evidence))
    else:
        checks.append(Check("evidence", True, None, None, evidence.source))
        checks += on_predictions(evidence, judged_metric(limits.metric.name, searched), limits)
    parity = _parity(challenger)
    checks.append(parity)
    if parity.passed:  # what says other things than its models need not be timed
        checks.append(_latency(challenger, champion, limits.latency))
    checks += [_size(challenger, limits.size_mb), _certificate(challenger, certificate)]
    return Verdict(tuple(checks), against)


def _cohort(challenger: Bundle, limits: Limits) -> Check:
    refused = challenger.simulated and not limits.simulated
    told = "fitted on a SIMULATED cohort" if refused else f"cohort: {challenger.manifest.cohort}"
    return Check("cohort", not refused, None, "publisher" if not limits.simulated else "any", told)


def _parity(challenger: Bundle) -> Check:
    parity = challenger.manifest.parity
    folders = {f for members in challenger.manifest.models.values() for f in members}
    if not parity or set(parity["members"]) != folders:
        told = "the bundle was never compared with its models, member by member"
        return Check("parity", False, None, PARITY, told)
    written = max(parity["ensemble"], *parity["members"].values())
    if not (written <= PARITY or challenger.manifest.quantised):  # int8 is judged by what it costs
        return Check(
            "parity", False, written, PARITY, f"written {written:.2g} from its models' probabilities"
        )
    try:
        here = challenger.self_test()
    except BundleError as error:
        return Check("parity", False, None, PARITY, str(error).splitlines()[0])
    told = f"within {max(written, here):.1g} of its models' probabilities"
    return Check("parity", True, max(written, here), PARITY, told)


def _latency(challenger: Bundle, champion: Bundle | None, limit: LatencyLimit) -> Check:
    bundles = [challenger, *([champion] if champion is not None else [])]
    took = [median(times) for times in _times_ms(bundles)]
    told = f"{took[0]:.1f} ms a record"
    if len(took) > 1:
        told += f", {took[1]:.1f} ms the champion"
    wrong = []
    if took[0] > limit.most_ms:
        wrong.append(f"more than {limit.most_ms:g} ms")
    if len(took) > 1 and took[0] > limit.most_ratio * took[1]:
        wrong.append(f"more than {limit.most_ratio:g} times as long")
    return Check("latency", not wrong, took[0], limit.most_ms, "; ".join([told, *wrong]))


def _times_ms(bundles: Sequence[Bundle]) -> list[list[float]]:
    """Of single predictions of each bundle's example, in turns, so that whatever else runs here slows all."""
    examples = [b.task.parse([b.task.example()], strict=True).records for b in bundles]
    times: list[list[float]] = [[] for _ in bundles]
    for turn in range(WARMING + TIMED):
        for bundle, example, found in zip(bundles, examples, times, strict=True):
            began = time.perf_counter()
            bundle.predict(example)
            if turn >= WARMING:
                found.append(1000 * (time.perf_counter() - began))
    return times


def _size(challenger: Bundle, most_mb: float) -> Check:
    size = sum(path.stat().st_size for path in challenger.directory.rglob("*") if path.is_file()) / 1e6
    passed = size <= most_mb
    return Check("size", passed, size, most_mb, f"{size:.1f} MB" + f", more than {most_mb:g}" * (not passed))


def _certificate(challenger: Bundle, certificate: Mapping[str, Any] | None) -> Check:
    """That its search has a certificate, of these data, by which no outer test touched what was decided."""
    wrong = "there is none: register the run's folder, not the bundle alone"
    if certificate is not None:
        manifest = challenger.manifest
        try:
            wrong = _uncertified(certificate, manifest.study_name, manifest.data_digest)
        except (KeyError, TypeError, AttributeError):
            wrong = "it is malformed"
    told = wrong or f"clean over {len(certificate['folds']) if certificate else 0} folds"
    return Check("certificate", not wrong, None, None, told)


def _uncertified(certificate: Mapping[str, Any], study_name: str, data_digest: str) -> str:
    if (certificate["study_name"], certificate["data_digest"]) != (study_name, data_digest):
        return "it is of another search"
    if not certificate["folds"]:
        return "it speaks of no fold"
    for fold in certificate["folds"]:
        for purpose, seen in fold["purposes"].items():
            if purpose != "test" and seen["outer_test_records"]:
                return f"fold {fold['name']}: outer-test records were handed out for {purpose}"
    return ""
