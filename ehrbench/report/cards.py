"""Cards: a bundle's model card for people and for programs, put into a finished run's bundle."""

from __future__ import annotations

import json
from pathlib import Path

from ehrbench.core.bundle import PROFILE, check_checksums, write_checksums
from ehrbench.core.profile import Profile
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.run_folder import BUNDLE
from ehrbench.report.applied_card import applied_card
from ehrbench.report.attempts import Attempts
from ehrbench.report.card import model_card
from ehrbench.report.card_facts import card_facts
from ehrbench.report.rendering import write_page
from ehrbench.report.run import read_run
from ehrbench.report.source_attributes import source_attributes
from ehrbench.statistics.subgroups import by_subgroup

CARD, ATTRIBUTES, APPLIED = "MODEL_CARD.md", "model_card.json", "model_card.xml"
N_BOOTSTRAP = 1000


def write_model_card(
    folder: Path, *, seed: int = 0, n_bootstrap: int = N_BOOTSTRAP, progress: Progress = SILENT
) -> Path:
    """Write ``<folder>/bundle/MODEL_CARD.md``, ``model_card.json`` and ``.xml``; the first one's path.

    They are listed in the bundle's checksums. The bundle is checked first, so that an altered one is never
    given fresh checksums. Raises BundleError naming the file that is missing or altered; StorageError when
    a card cannot be written.
    """
    bundle = Path(folder) / BUNDLE
    check_checksums(bundle)

    def made() -> dict[str, str]:
        run = read_run(folder)
        of_all = (run.folds, run.families, run.leader, [run.metric], run.target)
        groups = by_subgroup(*of_all, seed=seed, n_bootstrap=n_bootstrap)
        path = bundle / PROFILE
        profile = Profile.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
        facts = card_facts(run.summary, run.manifest, groups, profile)
        applied, empty = applied_card(facts)
        attributes = json.dumps(source_attributes(facts, empty), indent=1, ensure_ascii=False) + "\n"
        return {CARD: model_card(run.summary, run.manifest, groups), ATTRIBUTES: attributes, APPLIED: applied}

    with progress.step("model card"):
        texts = Attempts(folder).part(
            "card", made, lambda why: {CARD: f"# Model card\n\nThere is none: {why}.\n"}
        )
        for name, text in texts.items():
            write_page(bundle / name, text)
        write_checksums(bundle)
    return bundle / CARD
