"""What every Ledger must do; inherit and give the fixtures ``ledger`` and ``clock``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ehrbench.core.errors import ConfigError, LeaseLost, StudyMismatch
from ehrbench.core.ledger import Fit, FitLease, Ledger, StudyKey, Ticket

KEY = StudyKey("study", "mortality", "ssm", 0)
DIGEST = "d" * 64


def a_fit(fold: int, score: float = 0.5, seed: int = 7, steps: Mapping[int, float] | None = None) -> Fit:
    curve = ((0, {"log_loss": 0.7}), (1, {"log_loss": 0.6}))
    return Fit(fold, seed, score, 1, 0.25, "a" * 64, "b" * 64, "c" * 64, curve, steps or {})


class Clock:
    """Seconds, as far as a test has let them pass."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class LedgerConformance:
    """A ledger with leases of 60 s by ``clock`` and three attempts a ticket."""

    @pytest.fixture(autouse=True)
    def _open(self, ledger: Ledger) -> None:
        ledger.open_study(KEY, DIGEST, {"data": "x", "trainer": {"epochs": 3}})

    @staticmethod
    def claim(ledger: Ledger, n_trials: int = 3, worker: str = "w1") -> Ticket:
        ticket = ledger.claim(KEY, n_trials, worker)
        assert ticket is not None
        return ticket

    def test_open_again_with_the_same_digest(self, ledger: Ledger) -> None:
        ledger.open_study(KEY, DIGEST, {"data": "whatever"})
        assert ledger.studies() == [KEY]

    def test_mismatch_names_what_differs(self, ledger: Ledger) -> None:
        facts = {"data": "x", "trainer": {"epochs": 4, "clip": 1.0}}
        with pytest.raises(StudyMismatch) as caught:
            ledger.open_study(KEY, "e" * 64, facts)
        message = str(caught.value)
        assert "trainer.epochs was 3, now 4" in message
        assert "trainer.clip was absent, now 1.0" in message
        assert "data" not in message
        assert "\n" not in message

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            (
                {"data": "2" * 64, "folds": "2" * 64},
                "exists with other records or labels (see data and task) —",
            ),
            ({"folds": "2" * 64}, "exists with other folds of the same records (see protocol and seed) —"),
            ({"model.code": "2" * 64, "seed": 1}, "(see git log); seed was 0, now 1 —"),
            (
                {"search": {"code": {"ehrbench.metrics.f1": "2" * 16}}, "seed": 1},
                "exists with other code of ehrbench.metrics.f1 (see git log); seed was 0, now 1 —",
            ),
        ],
    )
    def test_mismatch_of_digests_in_words(
        self, ledger: Ledger, changed: dict[str, object], said: str
    ) -> None:
        facts = {"data": "1" * 64, "folds": "1" * 64, "model.code": "1" * 64, "seed": 0}
        facts["search"] = {"code": {"ehrbench.metrics.f1": "1" * 16}}
        key = StudyKey("words", "mortality", "ssm", 0)
        ledger.open_study(key, DIGEST, facts)
        with pytest.raises(StudyMismatch) as caught:
            ledger.open_study(key, "e" * 64, facts | changed)
        assert said in str(caught.value)
        assert "1111" not in str(caught.value)

    def test_studies_by_name(self, ledger: Ledger) -> None:
        final = StudyKey("study", "mortality", "ssm", None)
        other = StudyKey("other", "mortality", "ssm", 0)
        for key in (final, other):
            ledger.open_study(key, DIGEST, {})
        assert ledger.studies("study") == [KEY, final]
        assert ledger.studies() == [KEY, final, other]

    def test_names_are_case_sensitive(self, ledger: Ledger) -> None:
        ledger.open_study(StudyKey("STUDY", "mortality", "ssm", 0), "e" * 64, {})
        assert len(ledger.studies()) == 2

    @pytest.mark.parametrize("name", ["", "Müdigkeit", "a" * 121, "two\nlines"])
    def test_unusable_names(self, ledger: Ledger, name: str) -> None:
        with pytest.raises(ConfigError, match="study_name"):
            ledger.open_study(StudyKey(name, "mortality", "ssm", 0), DIGEST, {})

    def test_unknown_study(self, ledger: Ledger) -> None:
        with pytest.raises(ConfigError, match="no study"):
            ledger.claim(StudyKey("nobody", "mortality", "ssm", 0), 3, "w1")

    def test_exactly_n_tickets(self, ledger: Ledger) -> None:
        numbers = [self.claim(ledger).number for _ in range(3)]
        assert numbers == [0, 1, 2]
        assert ledger.claim(KEY, 3, "w2") is None
        assert (ledger.spent(KEY), ledger.claimed(KEY)) == (0, 3)

    def test_more_trials_later(self, ledger: Ledger) -> None:
        ledger.finish(self.claim(ledger, 1), "complete", 0.5)
        assert ledger.claim(KEY, 1, "w1") is None
        assert self.claim(ledger, 2).number == 1

    @pytest.mark.parametrize("n_trials", [0, -1, 1])
    def test_too_few_trials(self, ledger: Ledger, n_trials: int) -> None:
        self.claim(ledger), self.claim(ledger)
        with pytest.raises(ConfigError, match="n_trials"):
            ledger.claim(KEY, n_trials, "w1")
        assert len(ledger.tickets(KEY)) == 2

    def test_a_whole_trial(self, ledger: Ledger) -> None:
        params = {"lr": 0.1, "n_layers": 2, "norm": "batch"}
        ticket = ledger.start(self.claim(ledger), params, 2**31 - 1, {"cma": [0.5]})
        assert ticket.seed == 2**31 - 1
        for fold in (0, 1):
            ledger.record_fit(ticket, a_fit(fold, steps={4 * fold: 0.25}))
        ledger.finish(ticket, "complete", 0.1 + 0.2)
        (row,) = ledger.tickets(KEY)
        assert (row.state, row.number, row.attempt, row.worker) == ("complete", 0, 1, "w1")
        assert (row.params, row.sampler_state) == (params, {"cma": [0.5]})
        assert row.value == 0.1 + 0.2  # to the last bit
        assert list(row.fits) == [a_fit(fold, steps={4 * fold: 0.25}) for fold in (0, 1)]
        assert [r.number for r in ledger.tickets(KEY, 0, 0)] == [0]
        assert ledger.tickets(KEY, first=1) == []
        assert row.started is not None
        assert row.finished is not None
        assert ledger.spent(KEY) == 1

    def test_pruned_is_spent(self, ledger: Ledger) -> None:
        ledger.finish(self.claim(ledger), "pruned", None)
        assert [t.state for t in ledger.tickets(KEY)] == ["pruned"]
        assert ledger.spent(KEY) == 1

    def test_a_score_that_is_not_a_number(self, ledger: Ledger) -> None:
        ledger.record_fit(self.claim(ledger), a_fit(0, score=float("nan")))
        score = ledger.tickets(KEY)[0].fits[0].score
        assert score != score

    def test_a_fold_again_keeps_the_first(self, ledger: Ledger) -> None:
        ticket = self.claim(ledger)
        ledger.record_fit(ticket, a_fit(0, score=0.5))
        ledger.record_fit(ticket, a_fit(0, score=0.9))
        assert list(ledger.tickets(KEY)[0].fits) == [a_fit(0, score=0.5)]

    def test_failures_are_retried_then_spent(self, ledger: Ledger) -> None:
        ticket = ledger.start(self.claim(ledger, 1), {"lr": 0.1}, 9)
        ledger.record_fit(ticket, a_fit(0))
        assert ledger.fail(ticket, "NaN loss", retry=True) == "free"
        again = self.claim(ledger, 1, "w2")
        assert (again.number, again.attempt, again.params, again.seed) == (0, 2, {"lr": 0.1}, 9)
        assert again.params == {"lr": 0.1}
        assert again.token > ticket.token
        assert [f.fold for f in ledger.tickets(KEY)[0].fits] == [0]
        assert ledger.fail(again, "NaN loss", retry=True) == "free"
        assert ledger.fail(self.claim(ledger, 1), "NaN loss", retry=True) == "failed"
        assert ledger.claim(KEY, 1, "w1") is None
        (row,) = ledger.tickets(KEY)
        assert (row.state, row.error, row.attempt) == ("failed", "NaN loss", 3)

    def test_a_failure_without_retry_is_spent(self, ledger: Ledger) -> None:
        assert ledger.fail(self.claim(ledger), "bad parameters", retry=False) == "failed"
        assert ledger.spent(KEY) == 1

    def test_a_released_ticket_has_not_spent_an_attempt(self, ledger: Ledger) -> None:
        for _ in range(5):
            ticket = self.claim(ledger, 1)
            assert (ticket.number, ticket.attempt) == (0, 1)
            ledger.record_fit(ticket, a_fit(0))
            ledger.release(ticket)
        assert [t.state for t in ledger.tickets(KEY)] == ["free"]
        assert len(ledger.tickets(KEY)[0].fits) == 1

    def test_a_live_lease_is_not_taken(self, ledger: Ledger, clock: Clock) -> None:
        self.claim(ledger, 1)
        clock.now += 59
        assert ledger.claim(KEY, 1, "w2") is None

    def test_renewal_keeps_the_lease(self, ledger: Ledger, clock: Clock) -> None:
        ticket = self.claim(ledger, 1)
        for _ in range(5):
            clock.now += 59
            ledger.renew(ticket)
        assert ledger.claim(KEY, 1, "w2") is None

    def test_an_expired_lease_is_taken_over(self, ledger: Ledger, clock: Clock) -> None:
        ticket = ledger.start(self.claim(ledger, 1), {"lr": 0.1}, 3)
        ledger.record_fit(ticket, a_fit(0))
        clock.now += 61
        taken = self.claim(ledger, 1, "w2")
        assert (taken.number, taken.params, taken.worker) == (0, {"lr": 0.1}, "w2")
        assert taken.token == ticket.token + 1

    def test_expiry_alone_takes_nothing_away(self, ledger: Ledger, clock: Clock) -> None:
        ticket = self.claim(ledger, 1)
        clock.now += 1000
        ledger.record_fit(ticket, a_fit(0))  # nobody else has claimed it: it goes on, with a new lease
        assert ledger.claim(KEY, 1, "w2") is None

    def test_a_late_worker_writes_nothing(self, ledger: Ledger, clock: Clock) -> None:
        late = ledger.start(self.claim(ledger, 1), {}, 3)
        clock.now += 61
        taken = self.claim(ledger, 1, "w2")
        writes: list[Callable[[], object]] = [
            lambda: ledger.renew(late),
            lambda: ledger.start(late, {"lr": 9.0}, 1),
            lambda: ledger.record_fit(late, a_fit(0)),
            lambda: ledger.finish(late, "complete", 0.9),
            lambda: ledger.fail(late, "late", retry=False),
            lambda: ledger.release(late),
        ]
        before = ledger.tickets(KEY)
        for write in writes:
            with pytest.raises(LeaseLost, match="w2"):
                write()
        assert ledger.tickets(KEY) == before
        ledger.finish(taken, "complete", 0.5)
        for write in writes:
            with pytest.raises(LeaseLost):
                write()
        assert ledger.tickets(KEY)[0].value == 0.5

    def test_nothing_is_written_after_the_end(self, ledger: Ledger) -> None:
        ticket = self.claim(ledger)
        ledger.finish(ticket, "complete", 0.5)
        ledger.finish(ticket, "complete", 0.5)  # the answer to the first may have been lost
        late: list[Callable[[], object]] = [
            lambda: ledger.record_fit(ticket, a_fit(0)),
            lambda: ledger.finish(ticket, "pruned", None),
            lambda: ledger.fail(ticket, "no", retry=True),
            lambda: ledger.release(ticket),
            lambda: ledger.renew(ticket),
        ]
        for write in late:
            with pytest.raises(LeaseLost):
                write()
        assert [(t.state, t.value) for t in ledger.tickets(KEY)] == [("complete", 0.5)]

    def test_a_trial_that_kills_its_workers_is_spent(self, ledger: Ledger, clock: Clock) -> None:
        for attempt in (1, 2, 3):
            assert self.claim(ledger, 1).attempt == attempt
            clock.now += 61
        assert ledger.claim(KEY, 1, "w2") is None
        (row,) = ledger.tickets(KEY)
        assert row.state == "failed"
        assert "died 3 times" in str(row.error)

    def test_deaths_with_progress_spend_nothing(self, ledger: Ledger, clock: Clock) -> None:
        for fold in range(8):
            ledger.record_fit(self.claim(ledger, 1), a_fit(fold))
            clock.now += 61
        ledger.finish(self.claim(ledger, 1), "complete", 0.5)
        assert len(ledger.tickets(KEY)[0].fits) == 8

    # --- one trial, several workers ---

    @classmethod
    def begun(cls, ledger: Ledger, n_trials: int = 1, worker: str = "w1") -> Ticket:
        """A ticket whose holder trains fold 0 of 4."""
        return ledger.start(cls.claim(ledger, n_trials, worker), {"lr": 0.1}, 3)

    @staticmethod
    def help(ledger: Ledger, worker: str = "h1") -> FitLease:
        lease = ledger.claim_fit(KEY, 4, worker)
        assert lease is not None
        return lease

    def test_helpers_take_the_folds_that_nobody_trains(self, ledger: Ledger) -> None:
        ticket = self.begun(ledger)
        leases = [self.help(ledger, worker) for worker in ("h1", "h2", "h3")]
        assert [(lease.number, lease.fold) for lease in leases] == [(0, 1), (0, 2), (0, 3)]
        assert {lease.params["lr"] for lease in leases if lease.params} == {0.1}
        assert ledger.claim_fit(KEY, 4, "h4") is None
        assert ledger.fit_leases(KEY) == leases
        ledger.record_fit(leases[0], a_fit(1))
        ledger.record_fit(leases[0], a_fit(1, score=0.9))  # the answer to the first may have been lost
        assert ledger.fit_leases(KEY) == leases[1:]
        ledger.record_fit(ticket, a_fit(0))
        assert ledger.take_fold(ticket, 4) is None  # the rest is with helpers
        assert list(ledger.tickets(KEY)[0].fits) == [a_fit(0), a_fit(1)]

    def test_the_holder_goes_on_where_nobody_is(self, ledger: Ledger) -> None:
        ticket = self.begun(ledger)
        lease = self.help(ledger)
        ledger.record_fit(ticket, a_fit(0))
        assert ledger.take_fold(ticket, 4, judged=1) == 2
        assert ledger.take_fold(ticket, 4, judged=1) == 2  # the answer may have been lost
        assert self.help(ledger, "h2").fold == 3
        ledger.release(lease)
        assert ledger.tickets(KEY)[0].judged == 1
        assert ledger.take_fold(ticket, 4, judged=1) == 1

    def test_a_holder_takes_all_that_are_left_and_gets_no_help(self, ledger: Ledger) -> None:
        ticket = self.begun(ledger)
        lease = self.help(ledger)
        assert ledger.take_folds(ticket, 4) == (0, 2, 3)
        assert ledger.take_folds(ticket, 4) == (0, 2, 3)  # the answer may have been lost
        assert ledger.claim_fit(KEY, 4, "h2") is None
        ledger.record_fit(ticket, a_fit(2))  # as they end, not in their order
        ledger.record_fit(lease, a_fit(1))
        assert ledger.claim_fit(KEY, 4, "h2") is None
        assert ledger.take_folds(ticket, 4, judged=0) == (0, 3)
        assert ledger.take_fold(ticket, 4) == 0  # one of them, and helpers find the other
        assert self.help(ledger, "h2").fold == 3

    def test_a_successor_takes_what_a_dead_holder_left(self, ledger: Ledger, clock: Clock) -> None:
        ticket = self.begun(ledger)
        lease = self.help(ledger)
        ledger.take_folds(ticket, 4)
        ledger.record_fit(ticket, a_fit(2))
        clock.now += 61
        taken = self.claim(ledger, 1, "w2")
        assert taken.number == ticket.number
        assert ledger.take_folds(taken, 4, judged=0) == (0, 1, 3)
        assert ledger.tickets(KEY)[0].judged == 0
        for late in (lambda: ledger.take_folds(ticket, 4), lambda: ledger.record_fit(ticket, a_fit(0))):
            with pytest.raises(LeaseLost):
                late()
        with pytest.raises(LeaseLost, match="fold 1"):  # its helper was silent, too
            ledger.record_fit(lease, a_fit(1))
        assert [fit.fold for fit in ledger.tickets(KEY)[0].fits] == [2]

    def test_no_help_for_a_trial_that_has_not_begun_or_has_one_fold_left(self, ledger: Ledger) -> None:
        ticket = self.claim(ledger, 1)
        assert ledger.claim_fit(KEY, 4, "h1") is None
        ticket = ledger.start(ticket, {"lr": 0.1}, 3, train=False)  # its fits are known already
        assert ledger.claim_fit(KEY, 4, "h1") is None
        ticket = ledger.start(ticket, {"lr": 0.1}, 3)
        for fold in (0, 1, 2):
            ledger.record_fit(ticket, a_fit(fold))
        assert ledger.claim_fit(KEY, 4, "h1") is None
        assert ledger.take_fold(ticket, 4) == 3

    def test_a_silent_holders_trial_is_not_helped_but_taken_over(self, ledger: Ledger, clock: Clock) -> None:
        ticket = self.begun(ledger)
        lease = self.help(ledger)
        clock.now += 40
        ledger.renew(lease)
        clock.now += 21
        assert ledger.claim_fit(KEY, 4, "h2") is None
        taken = self.claim(ledger, 1, "w2")
        assert ledger.claim_fit(KEY, 4, "h2") is None  # w2 has not said what it trains
        assert ledger.take_fold(taken, 4) == 0
        ledger.record_fit(taken, a_fit(0))
        assert ledger.take_fold(taken, 4) == 2  # the helper lives
        ledger.record_fit(lease, a_fit(1))
        with pytest.raises(LeaseLost):
            ledger.take_fold(ticket, 4)
        assert [fit.fold for fit in ledger.tickets(KEY)[0].fits] == [0, 1]

    def test_a_silent_helpers_fold_goes_to_anybody(self, ledger: Ledger, clock: Clock) -> None:
        ticket = self.begun(ledger)
        first, second = self.help(ledger), self.help(ledger, "h2")
        clock.now += 61
        ledger.renew(ticket)
        again = self.help(ledger, "h3")
        assert (again.fold, again.token) == (1, first.token + 1)
        ledger.record_fit(ticket, a_fit(0))
        assert ledger.take_fold(ticket, 4) == 2
        for late, fold in ((first, 1), (second, 2)):
            for write in (ledger.renew, ledger.release, lambda x, f=fold: ledger.record_fit(x, a_fit(f))):
                with pytest.raises(LeaseLost, match=f"fold {fold}"):
                    write(late)
        ledger.record_fit(again, a_fit(1, score=0.25))
        assert [(fit.fold, fit.score) for fit in ledger.tickets(KEY)[0].fits] == [(0, 0.5), (1, 0.25)]

    def test_a_helper_writes_nothing_after_the_end(self, ledger: Ledger) -> None:
        ticket = self.begun(ledger)
        lease = self.help(ledger)
        ledger.record_fit(ticket, a_fit(0))
        ledger.finish(ticket, "pruned", None, 1)
        for write in (ledger.renew, ledger.release, lambda x: ledger.record_fit(x, a_fit(1))):
            with pytest.raises(LeaseLost, match="pruned"):
                write(lease)
        assert ledger.fit_leases(KEY) == []
        assert len(ledger.tickets(KEY)[0].fits) == 1

    def test_a_helper_goes_on_while_the_ticket_is_free(self, ledger: Ledger) -> None:
        ticket = self.begun(ledger)
        lease = self.help(ledger)
        ledger.release(ticket)
        assert ledger.claim_fit(KEY, 4, "h2") is None
        ledger.renew(lease)
        ledger.record_fit(lease, a_fit(1))
        ledger.record_fit(self.claim(ledger, 1), a_fit(0))
        assert [fit.fold for fit in ledger.tickets(KEY)[0].fits] == [0, 1]

    def test_what_helpers_cannot_train_is_left_to_the_holder(self, ledger: Ledger, clock: Clock) -> None:
        ticket = self.begun(ledger)
        for helper in ("h1", "h2", "h3"):
            assert self.help(ledger, helper).fold == 1
            clock.now += 61  # dies
            ledger.renew(ticket)
        assert self.help(ledger, "h4").fold == 2
        ledger.record_fit(ticket, a_fit(0))
        assert ledger.take_fold(ticket, 4) == 1

    def test_fits_beyond_what_was_judged_do_not_count(self, ledger: Ledger) -> None:
        ticket = self.begun(ledger)
        ledger.record_fit(self.help(ledger), a_fit(1))
        ledger.record_fit(self.help(ledger), a_fit(2))
        ledger.record_fit(ticket, a_fit(0))
        ledger.finish(ticket, "pruned", None, 2)
        (row,) = ledger.tickets(KEY)
        assert [fit.fold for fit in row.fits] == [0, 1, 2]
        assert [fit.fold for fit in row.counted] == [0, 1]

    def test_the_lowest_number_first(self, ledger: Ledger, clock: Clock) -> None:
        first, second = self.claim(ledger, 5), self.claim(ledger, 5)
        ledger.release(second)
        ledger.release(first)
        assert [self.claim(ledger, 5).number for _ in range(3)] == [0, 1, 2]

    def test_results_keep_the_first(self, ledger: Ledger) -> None:
        assert ledger.result("study", "outer/0") is None
        ledger.put_result("study", "outer/0", b"first")
        ledger.put_result("study", "outer/0", b"second")
        assert ledger.result("study", "outer/0") == b"first"
        assert ledger.result("other", "outer/0") is None

    def test_models_of_other_searches(self, ledger: Ledger) -> None:
        ledger.record_fit(self.claim(ledger), a_fit(0))
        assert ledger.models_elsewhere("study") == set()
        assert ledger.models_elsewhere("other") == {"b" * 64}
        assert ledger.models_elsewhere("other", {"a" * 64}) == set()
