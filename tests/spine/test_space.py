"""The search space is checked key by key, and asks conditional parameters only where they apply."""

import optuna
import pytest

from ehrbench.core.errors import ConfigError
from ehrbench.spine.space import read_space

SPACE = {
    "rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "layers": {"type": "int", "low": 1, "high": 4},
    "pooling": {"type": "categorical", "choices": ["last", "attention"]},
    "heads": {"type": "categorical", "choices": [2, 4], "when": {"pooling": "attention"}},
}


@pytest.mark.parametrize("pooling", ["last", "attention"])
def test_conditionals_follow_their_condition(pooling):
    trial = optuna.trial.FixedTrial({"rate": 0.01, "layers": 2, "pooling": pooling, "heads": 4})
    chosen = read_space(SPACE, "space").suggest(trial)
    assert ("heads" in chosen) == (pooling == "attention")


def test_suggestions_stay_inside_the_bounds():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = read_space(SPACE, "space")
    for _ in range(50):
        chosen = space.suggest(study.ask())
        assert 1e-4 <= chosen["rate"] <= 1e-1
        assert chosen["layers"] in (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"x": {"type": "float", "low": 1, "high": 0}}, r"s\.x\.low: 1 is above high = 0"),
        ({"x": {"type": "float", "low": 0, "high": 1, "log": True}}, r"s\.x\.low: 0 has no logarithm"),
        ({"x": {"type": "float", "low": "1e-4", "high": 1}}, r"s\.x\.low: '1e-4' is not a number.*1\.0e-4"),
        ({"x": {"type": "flaot"}}, r"s\.x\.type: 'flaot' is none of"),
        ({"x": {"type": "int", "low": 0, "high": 1, "hihg": 2}}, r"s\.x\.hihg: unknown key"),
        ({"x": {"type": "categorical", "choices": []}}, r"s\.x\.choices"),
        ({"x": {"type": "int", "low": 0, "high": 1, "when": {"y": 1}}}, r"s\.x\.when\.y: names no parameter"),
        ({"x": 3}, r"s\.x: 3 is not a parameter"),
        ({"x": {"type": "float", "low": 1, "high": 2, "log": "no"}}, r"s\.x\.log: 'no' is neither true nor"),
        ({"x": {"type": "float", "low": 1, "high": 2, "log": 0}}, r"s\.x\.log: 0 is neither true nor false"),
        ({"x": {"type": "float", "low": 1, "high": 10**400}}, r"s\.x\.high: 10+ is not a number"),
        ({"x": {"type": "categorical", "choices": "ab"}}, r"s\.x\.choices: 'ab' is not a list"),
        ({"x": {"type": "categorical", "choices": 5}}, r"s\.x\.choices: 5 is not a list"),
        ({"x": {"type": "categorical", "choices": [[1], [2]]}}, r"s\.x\.choices: \[1\] is no single value"),
        ({"x": {"type": "int", "low": 1, "high": 2, "when": "y"}}, r"s\.x\.when: 'y' is no group of names"),
        (["x"], r"s: \['x'\] is no group of names"),
        ({"x": {"type": "float", "low": 0, "high": float("nan")}}, r"s\.x\.high: nan is not a number"),
        ({"x": {"type": "float", "low": 0, "high": 1, "step": 0}}, r"s\.x\.step: 0 is not above 0"),
        ({"x": {"type": "int", "low": 0, "high": 8, "step": 0.5}}, r"s\.x\.step: 0\.5 is not whole"),
        ({"x": {"type": "int", "low": 0.5, "high": 8}}, r"s\.x\.low: 0\.5 is not whole"),
        (
            {**SPACE, "x": {"type": "int", "low": 0, "high": 1, "when": {"pooling": "atention"}}},
            r"s\.x\.when\.pooling: 'atention' is never chosen",
        ),
        (
            {**SPACE, "x": {"type": "int", "low": 0, "high": 1, "when": {"layers": [4, 5]}}},
            r"s\.x\.when\.layers: 5 is never chosen",
        ),
    ],
)
def test_a_wrong_space_is_refused_by_key(spec, message):
    with pytest.raises(ConfigError, match=message):
        read_space(spec, "s")


@pytest.mark.parametrize("value", [0.0, 0.1, 0.2, 0.3, 0.6, 0.7, 1.0])
def test_a_default_on_a_step_is_held(value):
    """Also where the quotient is a last digit below a whole number, as 0.3 / 0.1 is."""
    space = read_space({"x": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.1}}, "s")
    assert space.within({"x": value}) == {"x": value}
    assert space.within({"x": value + 0.05}) == {}


@pytest.mark.parametrize(("kind", "low"), [("float", 1e-3), ("int", 2)])
def test_nothing_at_all_is_the_lowest_of_a_logarithmic_scale(kind, low):
    """A penalty of 0 would else be drawn at random in the trial that tries the model's own settings."""
    log = {"type": kind, "low": low, "high": 50, "log": True}
    space = read_space({"x": log, "y": {**log, "log": False}}, "s")
    found = space.within({"x": 0, "y": 0})
    assert found == {"x": low}
    assert type(found["x"]) is type(low)
    assert space.within({"x": 0.0}) == {"x": low}
    assert space.within({"x": False}) == {}
    assert space.within({"x": 1e-5}) == {}
