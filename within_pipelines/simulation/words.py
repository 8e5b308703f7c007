"""Write the ads' texts and know what each of their words does to the click-through rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from within_pipelines.simulation.draws import Stream, generator


@dataclass(frozen=True, slots=True)
class WordEffect:
    """What one word or sign in a headline adds to the log-odds of a click, before and after the drift date."""

    word: str
    group: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class WordGroup:
    """Words of one kind: how often a headline has one, and what it does, before and after the drift date."""

    name: str
    words: tuple[str, ...]
    share_before: float
    share_after: float
    before: float
    after: float


# Directions follow what real headline tests show: people, curiosity and digits up, question marks, exclamation marks and
# rare words down.
GROUPS: tuple[WordGroup, ...] = (
    WordGroup(
        "curiosity",
        ("The secret behind", "This is why", "What nobody tells you about", "How", "The surprising truth about",
         "See what makes"),
        0.32, 0.18, 0.30, 0.06,
    ),
    WordGroup(
        "people",
        ("mothers love", "your family deserves", "people recommend", "friends talk about", "women swear by", "kids ask for"),
        0.34, 0.34, 0.26, 0.26,
    ),
    WordGroup("digits", ("3", "5", "7", "10", "12", "21", "100"), 0.34, 0.34, 0.24, 0.24),
    WordGroup("urgency", ("today", "now", "this weekend", "before midnight", "while stocks last"), 0.24, 0.42, 0.16, -0.12),
    WordGroup("discount", ("half price", "free shipping", "free trial", "save more", "on sale"), 0.28, 0.36, 0.20, 0.30),
    WordGroup("warning", ("stop wasting money", "never regret it", "avoid the mistakes"), 0.16, 0.16, 0.18, 0.18),
    WordGroup(
        "jargon",
        ("next-generation", "synergistic", "ergonomically optimised", "proprietary", "best-in-class", "omnichannel"),
        0.24, 0.24, -0.28, -0.28,
    ),
    WordGroup("capitals", ("BUY", "WOW", "NEW", "HURRY"), 0.12, 0.12, -0.14, -0.14),
    WordGroup(
        "filler",
        ("in every size", "made in small batches", "for every season", "delivered straight to the door", "in four colours"),
        0.50, 0.50, 0.0, 0.0,
    ),
    WordGroup("question", ("?",), 0.20, 0.20, -0.22, -0.22),
    WordGroup("exclamation", ("!",), 0.22, 0.22, -0.20, -0.20),
)  # fmt: skip

# Words of one group differ a little from each other; signs have one effect.
WORD_DEVIATION = 0.05

FORMATS: dict[str, tuple[str, ...]] = {
    "google_ads": ("responsive search ad", "image ad", "video ad"),
    "meta_ads": ("image", "video", "carousel"),
    "tiktok_ads": ("video", "carousel", "spark ad"),
}
FORMAT_EFFECT: dict[str, float] = {
    "responsive search ad": 0.0, "image ad": -0.12, "video ad": 0.18,
    "image": -0.12, "video": 0.16, "carousel": 0.04, "spark ad": 0.10,
}  # fmt: skip
CALLS_TO_ACTION: dict[str, float] = {
    "Shop now": 0.06,
    "Learn more": 0.0,
    "Sign up": -0.08,
    "Get offer": 0.05,
    "Contact us": -0.10,
}

SEGMENTS: tuple[str, ...] = ("women 18-44", "men 18-44", "women 45+", "men 45+", "broad")
SEGMENT_EFFECT: dict[str, float] = {"women 18-44": 0.05, "men 18-44": 0.0, "women 45+": 0.0, "men 45+": 0.0, "broad": -0.05}

PRODUCTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Coffee", ("espresso beans", "café-style espresso", "coffee subscriptions", "cold brew")),
    ("Running", ("running shoes", "trail jackets", "training plans", "sports socks")),
    ("Sleep", ("mattresses", "linen sheets", "memory pillows", "weighted blankets")),
    ("Language", ("Spanish lessons", "language courses", "online tutors", "grammar apps")),
    ("Garden", ("garden furniture", "raised beds", "solar lights", "seed boxes")),
    ("Skincare", ("face creams", "sun lotions", "hand soaps", "serums")),
    ("Bikes", ("city bikes", "e-bikes", "bike helmets", "cargo bikes")),
    ("Insurance", ("travel insurance", "pet insurance", "home cover", "car insurance")),
    ("Kitchen", ("meal kits", "steel pans", "chef knives", "recipe boxes")),
    ("Travel", ("city breaks", "train passes", "cabin suitcases", "island holidays")),
)
DESCRIPTIONS: tuple[str, ...] = (
    "Chosen by specialists, shipped within two days.",
    "Compare plans, prices and reviews in one place.",
    "Our 30-day promise: love it or send it back, no questions asked.",
    "Made with care, \"down to the last stitch\".",
    "Trusted in twelve countries; rated 4.8 by customers.",
    "Easy to order. Easy to return.",
)  # fmt: skip


def word_effects(seed: int, *, strength: float = 1.0) -> tuple[WordEffect, ...]:
    """The effect of every word of every group under this seed; `strength` multiplies what the drift date changes."""
    rng = generator(seed, Stream.WORDS)
    effects: list[WordEffect] = []
    for group in GROUPS:
        deviations = rng.normal(0.0, WORD_DEVIATION, len(group.words))
        after = group.after if strength == 1.0 else group.before + strength * (group.after - group.before)
        # One sign, and any digit at all, count the same wherever they stand; neutral words stay neutral.
        varies = group.name not in {"digits", "filler", "question", "exclamation"}
        for word, deviation in zip(group.words, deviations.tolist(), strict=True):
            shift = round(deviation, 4) if varies else 0.0
            effects.append(WordEffect(word, group.name, round(group.before + shift, 4), round(after + shift, 4)))
    return tuple(effects)


@dataclass(frozen=True, slots=True)
class Copy:
    """One ad's texts with the log-odds that they add, before and after the drift date."""

    headline: str
    description: str
    call_to_action: str
    format: str
    before: float
    after: float


class Copywriter:
    """Combines words into headlines; one a seed and strength of the drift."""

    def __init__(self, seed: int, *, strength: float = 1.0) -> None:
        self.effects = word_effects(seed, strength=strength)
        self._by_word = {(effect.group, effect.word): effect for effect in self.effects}

    def write(self, rng: np.random.Generator, platform: str, products: tuple[str, ...], *, drifted: bool) -> Copy:
        """One ad for one of `products`; `drifted` ads are written after the drift date and favour other words and formats."""
        words: dict[str, str] = {}
        before = after = 0.0
        for group in GROUPS:
            share = group.share_after if drifted else group.share_before
            # Always two draws a group, so that one group's presence does not shift the next group's draw.
            present, pick = rng.random() < share, int(rng.integers(len(group.words)))
            if group.name == "exclamation" and "question" in words:
                present = False
            if present:
                words[group.name] = group.words[pick]
                effect = self._by_word[(group.name, group.words[pick])]
                before, after = before + effect.before, after + effect.after
        product = products[int(rng.integers(len(products)))]
        description = DESCRIPTIONS[int(rng.integers(len(DESCRIPTIONS)))]
        call = list(CALLS_TO_ACTION)[int(rng.integers(len(CALLS_TO_ACTION)))]
        video_share = 0.55 if drifted else 0.34
        formats = FORMATS[platform]
        video = next(name for name in formats if "video" in name)
        others = tuple(name for name in formats if name != video)
        is_video, other = rng.random() < video_share, others[int(rng.integers(len(others)))]
        kind = video if is_video else other
        plain = CALLS_TO_ACTION[call] + FORMAT_EFFECT[kind]
        return Copy(_headline(words, product), description, call, kind, before + plain, after + plain)


def _headline(words: dict[str, str], product: str) -> str:
    core = product
    if "jargon" in words:
        core = f"{words['jargon']} {core}"
    if "digits" in words:
        core = f"{words['digits']} {core}"
    if "curiosity" in words:
        core = f"{words['curiosity']} {core}"
        if words["curiosity"] == "How":
            core += " are made"
    if "people" in words:
        core += f" {words['people']}" if "curiosity" in words else f" that {words['people']}"
    parts = [core]
    if "filler" in words:
        parts[0] += f" {words['filler']}"
    parts += [words[name] for name in ("warning", "discount") if name in words]
    text = ", ".join(parts)
    if "urgency" in words:
        text += f" {words['urgency']}"
    if "capitals" in words:
        text = f"{words['capitals']}: {text}"
    else:
        text = text[0].upper() + text[1:]
    return text + words.get("question", "") + words.get("exclamation", "")
