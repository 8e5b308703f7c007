"""Laws of the greedy attack on texts."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

import numpy as np
import pytest

from within_pipelines.exceptions import SampleError
from within_pipelines.robustness import READER_EDITS, TextAttack, text_attack
from within_pipelines.robustness.text import LOOK_ALIKE

TEXTS = ("Warm winter coats for people", "Seven secret reasons", "Save today!", "Read this now.", "", "42")


def forged(texts: Sequence[str], rows: np.ndarray) -> list[float]:
    """How many letters are look-alikes: one edit forges at most one."""
    return [float(sum(letter in LOOK_ALIKE.values() or ord(letter) > 0x400 for letter in text)) for text in texts]


def hashed(texts: Sequence[str], rows: np.ndarray) -> list[float]:
    return [float(sum(ord(letter) * (i + 1) for i, letter in enumerate(text)) % 97) for text in texts]


def attack(score, budget: int, seed: int = 3, **options) -> TextAttack:
    return text_attack(score, TEXTS, budget=budget, rng=np.random.default_rng(seed), **options)


def test_a_constant_model_cannot_be_attacked() -> None:
    found = attack(lambda texts, rows: np.full(len(texts), 50.0), 6)
    assert found.success(0.0) == 0
    assert found.texts == TEXTS
    assert found.edits.sum() == 0


def test_success_is_no_larger_than_possible_and_reaches_it_where_each_edit_counts_one() -> None:
    for budget in range(4):
        found = attack(forged, budget, tries=60)
        assert np.all(found.change <= budget)
        assert np.all(found.change <= found.edits)
        assert found.change[:3].tolist() == [budget] * 3
        assert found.change[4:].tolist() == [0.0, 0.0]
        assert found.success(budget) == 0


@pytest.mark.parametrize("seed", range(5))
def test_more_budget_never_finds_less(seed: int) -> None:
    found = [attack(hashed, budget, seed) for budget in range(6)]
    for less, more in pairwise(found):
        assert np.all(np.abs(more.change) >= np.abs(less.change))
        assert more.success(20.0) >= less.success(20.0)
    assert found[-1].success(20.0) > found[0].success(20.0) == 0


def test_what_is_claimed_is_what_the_text_scores() -> None:
    found = attack(hashed, 4)
    rows = np.arange(len(TEXTS))
    assert (np.array(hashed(found.texts, rows)) - hashed(TEXTS, rows)).tolist() == found.change.tolist()
    assert np.all(found.edits <= 4)
    assert found.queries <= len(TEXTS) * (1 + 4 * 8)
    again = attack(hashed, 4)
    assert again.texts == found.texts


@pytest.mark.parametrize("edit", READER_EDITS, ids=lambda e: e.__name__)
def test_an_edit_leaves_what_a_reader_reads(edit) -> None:
    rng = np.random.default_rng(5)
    changed = 0
    for text in TEXTS * 10:
        after = edit(text, rng)
        changed += after != text
        back = str.maketrans({ord(look): chr(latin) for latin, look in ((k, chr(v)) for k, v in LOOK_ALIKE.items())})
        read = after.translate(back).replace("\u200b", "").lower()
        plain = text.lower()
        # At most two neighbours have changed places.
        assert sorted(read) == sorted(plain)
        assert SequenceMatcher(None, read, plain, autojunk=False).ratio() >= 1 - 2 / max(len(plain), 1) or read == plain
    assert changed >= 10


def test_a_model_that_mends_one_slip_is_broken_by_two() -> None:
    """A search that kept only what is worse at once would never get there."""
    known = {word.lower() for text in TEXTS for word in text.split()}

    def mending(texts: Sequence[str], rows: np.ndarray) -> list[float]:
        def unknown(word: str) -> bool:
            slips = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
            return word not in known and not slips & known

        return [float(sum(unknown(word.replace("\u200b", "").lower()) for word in text.split())) for text in texts]

    only_slips = READER_EDITS[:1]
    assert attack(mending, 1, edits=only_slips, tries=40).success(0.5) == 0
    assert attack(mending, 2, edits=only_slips, tries=40).success(0.5) >= 0.5


def test_the_row_tells_what_else_a_model_reads() -> None:
    moved_by_row = lambda texts, rows: [float(row) * hash_free(text) for text, row in zip(texts, rows, strict=True)]
    found = attack(moved_by_row, 3)
    assert found.change[0] == 0  # row 0 counts nothing
    assert abs(found.change[1]) > 0


def hash_free(text: str) -> float:
    return float(sum(letter.isupper() for letter in text))


def test_refusals() -> None:
    with pytest.raises(SampleError, match="budget is -1"):
        attack(hashed, -1)
    with pytest.raises(SampleError, match="one finite number per text"):
        attack(lambda texts, rows: [float("nan")] * len(texts), 1)
    with pytest.raises(SampleError, match="one finite number per text"):
        attack(lambda texts, rows: [1.0], 1)
