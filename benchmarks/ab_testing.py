"""Real A/B tests (Upworthy): which fail the sample-ratio check, and do significant pairs replicate? Simulated: what daily peeking costs."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
from _common import arguments, show, write_json
from scipy.special import ndtr

from within_pipelines.stats import Estimate, benjamini_hochberg, cluster_mean, mixture_wealth, two_proportion_z, wilson_interval
from within_pipelines.validation import CanaryMetric, CanarySpec, CanaryState, replay, sample_ratio

AFFECTED = (201326, 201402)
LOOKS, PER_DAY, RATE, TRIALS = 28, 570, 0.10, 4000


def sample_ratios(packages: pl.DataFrame) -> tuple[dict[str, Estimate], set[str]]:
    """Share of tests with a sample ratio mismatch inside and outside the affected weeks, and the tests that fail."""
    failing: set[str] = set()
    count = {True: [0, 0], False: [0, 0]}
    tests = packages.group_by("clickability_test_id").agg(pl.col("impressions"), week=pl.col("test_week").first())
    for test, impressions, week in tests.iter_rows():
        if len(impressions) < 2:
            continue
        counts = {str(arm): n for arm, n in enumerate(impressions)}
        inside = AFFECTED[0] <= week <= AFFECTED[1]
        count[inside][1] += 1
        if sample_ratio(counts, dict.fromkeys(counts, 1.0)).mismatch:
            failing.add(test)
            count[inside][0] += 1
    return {"affected": wilson_interval(*count[True]), "elsewhere": wilson_interval(*count[False])}, failing


def pairs(packages: pl.DataFrame) -> pl.DataFrame:
    """Every two different headlines with all else equal (image, lede, excerpt) in one test, with their z test.

    The two headlines stand in alphabetical order, so that repeats of a pair under another image or text or in another test meet."""
    rows = []
    keys = ["clickability_test_id", "eyecatcher_id", "lede", "excerpt"]
    arms = packages.group_by([*keys, "headline"]).agg(pl.col("impressions").sum(), pl.col("clicks").sum(), pl.col("story_id").first())
    for number, (key, group) in enumerate(arms.sort(*keys, "headline").group_by(keys, maintain_order=True)):
        found = group.select("headline", "clicks", "impressions", "story_id").rows()
        for (h1, c1, n1, story), (h2, c2, n2, _) in combinations(found, 2):
            z = two_proportion_z(c1, n1, c2, n2)
            variance = c1 * (n1 - c1) / n1**3 + c2 * (n2 - c2) / n2**3
            rows.append((key[0], number, story, h1, h2, z.difference, variance, z.p_value))
    schema = ["test", "stratum", "story", "first", "second", "difference", "variance", "p"]
    return pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("variance") > 0)


def observed(called: pl.DataFrame, everything: pl.DataFrame, rng: np.random.Generator) -> tuple[int, Estimate, Estimate]:
    """How often a repeat of a called pair goes the same way, and goes the same way with p < .05; intervals resample whole stories."""
    again = called.join(everything, on=["first", "second"], suffix="_again").filter(pl.col("stratum") != pl.col("stratum_again"))
    same = (again["difference"] * again["difference_again"] > 0).to_numpy()
    sure = same & (again["p_again"] < 0.05).to_numpy()
    stories = again["story"].to_numpy()
    return len(same), _share(same, stories, rng), _share(sure, stories, rng)


def _share(met: np.ndarray, stories: np.ndarray, rng: np.random.Generator) -> Estimate:
    if met.any() and not met.all():
        return cluster_mean(met.astype(float), stories, rng=rng)
    # All alike: a bootstrap would call that certain. Wilson's interval, with each story counted once.
    n = len(np.unique(stories))
    return wilson_interval(n * int(met[0]), n)


def predicted(called: pl.DataFrame, everything: pl.DataFrame) -> tuple[float, float]:
    """The same two shares for an exact repeat of every called pair, from the spread of true differences among all pairs.

    True differences as N(0, tau^2), tau^2 by moments; given the data a repeat is normal with mean d b and variance v b + v, where
    b = tau^2 / (tau^2 + v)."""
    d, v = everything["difference"].to_numpy(), everything["variance"].to_numpy()
    weight = 1 / v
    tau2 = max(0.0, float(np.sum(weight * (d**2 - v)) / np.sum(weight)))
    d, v = np.abs(called["difference"].to_numpy()), called["variance"].to_numpy()
    shrink = tau2 / (tau2 + v)
    spread = np.sqrt(v * shrink + v)
    return float(np.mean(ndtr(d * shrink / spread))), float(np.mean(ndtr((d * shrink - 1.959964 * np.sqrt(v)) / spread)))


def daily_looks(effect: float, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Share of experiments that reject, and the median day of those, for four ways of reading 28 daily looks."""
    n = PER_DAY * np.arange(1, LOOKS + 1)
    a = np.cumsum(rng.binomial(PER_DAY, RATE * (1 + effect), (TRIALS, LOOKS)), axis=1) / n
    b = np.cumsum(rng.binomial(PER_DAY, RATE, (TRIALS, LOOKS)), axis=1) / n
    d, v = a - b, (a * (1 - a) + b * (1 - b)) / n
    z = np.abs(d) / np.sqrt(v)
    last = np.zeros((TRIALS, LOOKS), dtype=bool)
    last[:, -1] = z[:, -1] > 1.959964
    readings = {
        "z test, peeked daily": z > 1.959964,
        "z test, once at the end": last,
        "Bonferroni over 28 looks": z > 3.1237,
        "mixture SPRT (scale 10 % of the rate)": mixture_wealth(d, v, scale=0.1 * RATE) >= 20,
        "one-sided mixture, against a fall": mixture_wealth(d, v, scale=0.1 * RATE, alternative="less") >= 20,
    }
    found = {}
    for name, crossed in readings.items():
        any_day = crossed.any(axis=1)
        found[name] = (float(any_day.mean()), float(np.median(crossed.argmax(axis=1)[any_day]) + 1) if any_day.any() else float("nan"))
    return found


CANARY_DAYS, CANARY_PER_DAY, CANARY_MARGIN = 21, 1500, 0.02


def canaries(effect: float, n: int, seed: int, *, late: bool) -> tuple[Estimate, Estimate, float]:
    """Shares of `n` canaries that the decision code rolls back and promotes within three weeks, and the median day of rollbacks.

    With `late`, outcomes come up to three days after exposure and the same 6,000 unlike units come back."""
    first = date(2026, 5, 1)
    states, ended = [], []
    for number in range(n):
        rng = np.random.default_rng([seed, number, int(late), int(-1000 * effect)])
        spec = CanarySpec(
            "benchmark", "m", 2, 1, (CanaryMetric("won", margin=CANARY_MARGIN),), key=f"k{number}", shares=(0.05, 0.25, 0.5, 1.0),
            maturity_days=3 if late else 0,
        )  # fmt: skip
        own = np.clip(RATE * (1 + 0.5 * rng.normal(size=6000)), 0, 1)

        def log(day: date, share: float, spec=spec, rng=rng, own=own) -> pl.DataFrame:
            if late:
                picked = rng.choice(6000, CANARY_PER_DAY, replace=False)
                units, rates = [f"u{unit}" for unit in picked], own[picked]
            else:
                units, rates = [f"{day}-{unit}" for unit in range(CANARY_PER_DAY)], np.full(CANARY_PER_DAY, RATE)
            arms = [spec.arm_of(unit, share=share) for unit in units]
            won = (rng.random(CANARY_PER_DAY) < rates * (1 + effect * (np.array(arms) == "canary"))).astype(float)
            known = [day + timedelta(days=int(lag)) for lag in rng.integers(0, 4, CANARY_PER_DAY)] if late else [day] * CANARY_PER_DAY
            return pl.DataFrame({"unit": units, "arm": arms, "day": [day] * CANARY_PER_DAY, "known_on": known, "share": share, "won": won})

        run = replay(spec, log, [first + timedelta(days=day) for day in range(CANARY_DAYS)])
        states.append(run.state)
        if run.state is CanaryState.ROLLED_BACK and run.days is not None:
            ended.append(run.days)
    back, forward = (sum(state is wanted for state in states) for wanted in (CanaryState.ROLLED_BACK, CanaryState.PROMOTED))
    return wilson_interval(back, n), wilson_interval(forward, n), float(np.median(ended)) if ended else float("nan")


def main() -> None:
    """Print four tables."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--canaries", type=int, default=60, help="canaries per effect; three times as many without effect; 0 skips them")
    options = parser.parse_args()
    data: Path = options.data
    rng = np.random.default_rng(options.seed)
    metrics: dict[str, float] = {}
    packages = pl.read_parquet(data / "upworthy_packages.parquet")

    shares, failing = sample_ratios(packages)
    show(
        "Tests that fail the sample-ratio check (chi-square, p < .001)",
        ["weeks", "share", "tests"],
        [[f"{AFFECTED[0]} to {AFFECTED[1]}", str(shares["affected"]), str(shares["affected"].n)],
         ["elsewhere", str(shares["elsewhere"]), str(shares["elsewhere"].n)]],
    )  # fmt: skip
    for name, estimate in shares.items():
        metrics |= {f"srm_{name}": estimate.value, f"srm_{name}_low": estimate.low, f"srm_{name}_high": estimate.high}

    found = pairs(packages)
    week = dict(packages.select("clickability_test_id", "test_week").unique().iter_rows())
    inside = pl.Series([AFFECTED[0] <= week[test] <= AFFECTED[1] for test in found["test"]])
    sound = found.filter(~found["test"].is_in(list(failing)) & ~inside)
    p = sound["p"].to_numpy()
    rows = []
    for rule, mask in {"p < .05": p < 0.05, "Benjamini-Hochberg .05": benjamini_hochberg(p) <= 0.05, "p >= .5": p >= 0.5}.items():
        called = sound.filter(pl.Series(mask))
        repeats, sign, sure = observed(called, sound, rng)
        sign_predicted, sure_predicted = predicted(called, sound)
        rows.append(
            [rule, f"{called.height} of {len(p)}", str(repeats), str(sign), f"{sign_predicted:.3f}", str(sure), f"{sure_predicted:.3f}"]
        )
        name = {"p < .05": "replication_p05", "Benjamini-Hochberg .05": "replication_bh05", "p >= .5": "replication_null"}[rule]
        for kind, estimate, model in (("sign", sign, sign_predicted), ("significant", sure, sure_predicted)):
            metrics |= {f"{name}_{kind}": estimate.value, f"{name}_{kind}_low": estimate.low, f"{name}_{kind}_high": estimate.high}
            metrics[f"{name}_{kind}_predicted"] = model
    show(
        "Do headline pairs of sound tests replicate under another image or text? (predicted: an exact repeat of every called pair)",
        ["called by", "pairs", "repeats", "same direction", "predicted", "and p < .05", "predicted"],
        rows,
    )

    effects = {"0 %": 0.0, "-10 %": -0.10, "-20 %": -0.20}
    looks = {name: daily_looks(effect, rng) for name, effect in effects.items()}
    table = []
    for reading in looks["0 %"]:
        line = [reading]
        for name in effects:
            share, day = looks[name][reading]
            line.append(f"{share:.3f}" + (f" (day {day:.0f})" if name != "0 %" else ""))
            short = reading.split(",")[0].split(" (")[0].lower().replace(" ", "_").replace("-", "_")
            suffix = "_peeked" if "peeked" in reading else "_fixed" if "once" in reading else ""
            metrics[f"{short}{suffix}_{name.replace(' %', '').replace('-', 'minus_')}"] = share
        table.append(line)
    show(
        f"{LOOKS} daily looks, {PER_DAY} units an arm and day, rate {RATE:.0%}, {TRIALS} experiments: share that rejects (median day)",
        ["read by", "no effect", "-10 %", "-20 %"],
        table,
    )
    rows = []
    for late in (False, True) if options.canaries else ():
        for effect in (0.0, -0.1, -0.2, -0.3):
            n = options.canaries * (1 if effect else 3)
            back, forward, day = canaries(effect, n, options.seed, late=late)
            world = "returning units, outcomes up to 3 days late" if late else "new units, outcomes at once"
            rows.append([world, f"{effect:.0%}", str(n), str(back), f"{day:.0f}" if effect else "", str(forward)])
            name = f"canary_{'late_' if late else ''}{'minus_' if effect else ''}{abs(effect) * 100:.0f}"
            for what, estimate in (("rolled_back", back), ("promoted", forward)):
                metrics |= {f"{name}_{what}": estimate.value, f"{name}_{what}_low": estimate.low, f"{name}_{what}_high": estimate.high}
    if rows:
        show(
            f"Canaries: {CANARY_PER_DAY} units a day, rate {RATE:.0%}, margin {CANARY_MARGIN:g}, stages 5 to 100 %, {CANARY_DAYS} looks",
            ["world", "effect", "canaries", "rolled back", "median day", "promoted"],
            rows,
        )
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
