"""A page as a person reads it: its words, without markup."""

import re


def visible(text: str) -> str:
    """Words of the page, without its style and script."""
    return re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", text, flags=re.S)


def words(text: str) -> str:
    return re.sub(r"\s+", " ", visible(text))
