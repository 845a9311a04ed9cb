"""The code digest follows what runs, not how it is written down."""

from ehrbench.app.sources import bare, code_digest


def test_comments_docstrings_and_layout_do_not_count():
    one = bare('"""Text."""\ndef f(x):\n    """More."""\n    return x + 1\n')
    other = bare("def f(x):  # why\n    return (x\n        + 1)\n")
    assert one == other


def test_what_runs_counts():
    assert bare("def f(x):\n    return x + 1\n") != bare("def f(x):\n    return x + 2\n")


def test_the_digest_repeats():
    assert code_digest() == code_digest.__wrapped__()
