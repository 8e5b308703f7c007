"""Ad score on real headline tests (Upworthy Research Archive): which of two headlines under the same picture gets more clicks?

Without --test-data: five-fold by story, and by time (fitted before week 201446, judged after). With --test-data: fitted on all of
--data, judged on the packages of --test-data. Rivals see the same packages: the longer headline, ridges on text statistics, on TF-IDF
words, and on the last layer of MiniLM, as it is usually used. The longer headline states no probabilities: its log-loss and coverage say
nothing. The encoder's layers were chosen on five folds of the same data. Intervals resample whole stories (95 %)."""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from _common import REPOSITORY, arguments, own_cpu, show, write_json

from within_pipelines.features import creative_features, plain_text
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.contrasts import between_ad_variance, observe, within_group
from within_pipelines.prediction.ad_score.evaluation import Answers, Pairs
from within_pipelines.prediction.ad_score.model import PENALTIES, Sample, cross_fit_ridge, fit_ridge
from within_pipelines.prediction.ad_score.vocabulary import learn_vocabulary, word_matrix
from within_pipelines.prediction.conformal import conformal_quantile
from within_pipelines.prediction.encoder import MINILM, MPNET, TextEncoder, TransformerEncoder, find_encoder, installed
from within_pipelines.stats import Estimate, cluster_mean

SPLIT_WEEK = 201446
# The level of click-through rates is taken from so many days before, as in the daily job.
LEVEL_DAYS = 28
SHOWN = ("pairwise_accuracy_all", "pairwise_accuracy_significant", "auc", "log_loss", "debiased_ece", "calibration_slope", "lift",
         "ndcg_at_1", "coverage_90")  # fmt: skip
CACHE = REPOSITORY / "data" / "cache" / "encoders"


@dataclass(frozen=True)
class Lookup:
    """An encoder whose answers for all texts of the benchmark were computed once, so that folds do not pay for them again."""

    encoder: TextEncoder
    vectors: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        return self.encoder.name

    @property
    def sha256(self) -> str:
        return self.encoder.sha256

    @property
    def dimension(self) -> int:
        return self.encoder.dimension

    def encode(self, texts: list[str], *, remember: bool = True) -> np.ndarray:
        # A fold's speller may make a text that is no headline as it was printed.
        new = sorted(set(texts) - self.vectors.keys())
        if new:
            self.vectors.update(zip(new, self.encoder.encode(new, remember=False), strict=True))
        return np.stack([self.vectors[text] for text in texts])


def packages(folder: Path) -> pl.DataFrame:
    """Packages that competed under the same picture, in groups with at least two different headlines."""
    ads = with_level(pl.read_parquet(folder / "upworthy_packages.parquet").filter(pl.col("impressions") > 0))
    ads = ads.with_columns(group_id=pl.concat_str("clickability_test_id", pl.col("eyecatcher_id").fill_null(""), separator="/"))
    ads = ads.filter((pl.len().over("group_id") > 1) & (pl.col("headline").n_unique().over("group_id") > 1))
    ads = ads.select("group_id", "headline", "impressions", "clicks", "story_id", "test_week", "first_day", "^account_.*$").sort(
        "group_id", "headline", "impressions"
    )
    ads = ads.with_columns(cluster_id="story_id")
    features = creative_features(ads)
    return pl.concat([ads, features], how="horizontal")


def with_level(ads: pl.DataFrame) -> pl.DataFrame:
    """A first day for each test's week (weeks count from New Year), and all clicks and impressions of the 28 days before it."""
    weeks = sorted(ads["test_week"].unique().to_list())
    monday = {week: date(week // 100, 1, 1) + timedelta(days=7 * (week % 100)) for week in weeks}
    totals = {row[0]: row[1:] for row in ads.group_by("test_week").agg(pl.col("clicks", "impressions").sum()).iter_rows()}
    before = {
        week: [sum(totals[w][i] for w in weeks if 0 < (monday[week] - monday[w]).days <= LEVEL_DAYS) for i in (0, 1)] for week in weeks
    }
    known = pl.DataFrame(
        [(week, monday[week], *before[week]) for week in weeks],
        schema=["test_week", "first_day", "account_clicks_before", "account_impressions_before"],
        orient="row",
    )
    return ads.with_columns(account_id=pl.lit("upworthy")).join(
        known.with_columns(pl.col("test_week").cast(ads.schema["test_week"])), on="test_week", how="left", maintain_order="left"
    )


def level_coverage(predictor: AdScorePredictor, ads: pl.DataFrame, late: np.ndarray, *, seed: int, resamples: int) -> dict[str, float]:
    """Share of click-through rates inside their 90 % interval, week after week: the level is set anew from the four weeks before each.

    The interval is of the true rate, so the sampling variance of the observed one is added to it."""
    covered, plain, clusters, widths = [], [], [], []
    test = ads.filter(pl.Series(late))
    for week in sorted(test["first_day"].unique().to_list()):
        past = ads.filter((pl.col("first_day") < week) & (pl.col("first_day") >= week - timedelta(days=LEVEL_DAYS)))
        now = test.filter(pl.col("first_day") == week)
        if past["group_id"].n_unique() < 12 or now.is_empty():
            continue
        recalibrated = predictor.recalibrated(past)
        levels = recalibrated._state.levels
        answers = recalibrated.predict(now).to_frame()
        rates = answers.select("predicted_ctr", "ctr_low", "ctr_high").to_numpy()
        centre, low, high = np.log(rates / (1 - rates)).T
        shown = now["impressions"].to_numpy().astype(float)
        seen = observe(now["clicks"].to_numpy() / shown, shown, now["group_id"].to_numpy())
        half = np.sqrt(((high - low) / 2) ** 2 + levels.quantile**2 * seen.variance)
        covered.append(np.abs(seen.log_odds - centre) <= half)
        plain.append((seen.log_odds >= low) & (seen.log_odds <= high))
        widths.append((high - low) / 2)
        clusters.append(now["story_id"].to_numpy())
    every = (np.concatenate(covered).astype(float), np.concatenate(clusters))
    inside = cluster_mean(*every, rng=np.random.default_rng([seed, 4]), n_resamples=resamples)
    reach = np.exp(np.median(np.concatenate(widths)))
    print(f"Click-through rates inside their 90 % interval, level set anew each week: {inside} with the sampling noise of what was seen,")
    print(f"{np.concatenate(plain).mean():.3f} without it; the interval reaches a factor {reach:.2f} either way.\n", flush=True)
    return {"ctr_coverage_90": inside.value, "ctr_coverage_90_low": inside.low, "ctr_coverage_90_high": inside.high}


def rows_of(stories: pl.Series, *, seed: int) -> np.ndarray:
    """Fold of each row: a stable hash of its story."""
    names = stories.unique().to_list()
    fold = {story: int(hashlib.sha256(f"{seed}/{story}".encode()).hexdigest()[:8], 16) % 5 for story in names}
    return np.array([fold[story] for story in stories.to_list()])


def ridge_answers(x: np.ndarray, ads: pl.DataFrame, train: np.ndarray, test: np.ndarray, *, seed: int, scale: float = 1.0) -> Answers:
    """A rival: ridge on `x`, penalty by five folds of groups within the training rows."""
    part = ads.filter(pl.Series(train))
    rate = (part["clicks"] / part["impressions"]).to_numpy()
    seen = observe(rate, part["impressions"].to_numpy().astype(float), part["group_id"].to_numpy())
    spread2 = between_ad_variance(seen)
    weight = 1 / (seen.variance + spread2)
    sample = Sample(x[train], within_group(seen.log_odds, weight, seen.group, seen.n_groups), weight, seen.group)
    unseen, penalty = cross_fit_ridge(sample, rows_of(part["story_id"], seed=seed + 1), penalties=tuple(scale * p for p in PENALTIES))
    error = sample.y - within_group(unseen, weight, seen.group, seen.n_groups)
    lost = 1 - sample.n_groups / sample.y.size
    residual = float(np.sqrt(max(np.sum(weight * (error**2 - seen.variance)) / weight.sum() / lost, 1e-4)))
    quantile = conformal_quantile(np.abs(error) / np.sqrt(residual**2 + seen.variance), level=0.9)
    one = np.ones(int(test.sum()))
    return Answers(fit_ridge(sample, penalty=penalty)(x[test]), residual * one, quantile * one, one)


def rivals(ads: pl.DataFrame, train: np.ndarray, test: np.ndarray, last: np.ndarray | None, *, seed: int) -> dict[str, Answers]:
    """Answers of all rivals on the test rows."""
    hand = ads.select(pl.col("^headline_.*$")).to_numpy().astype(float)
    length = ads["headline"].str.len_chars().to_numpy().astype(float)
    words = learn_vocabulary(ads.filter(pl.Series(train))["headline"].to_list(), minimum=3, most=3000)
    counts = word_matrix(ads["headline"].to_list(), words)
    tfidf = counts * (np.log((1 + train.sum()) / (1 + counts[train].sum(axis=0))) + 1)
    tfidf /= np.maximum(np.linalg.norm(tfidf, axis=1, keepdims=True), 1e-12)
    one = np.ones(int(test.sum()))
    found = {"longer_headline": Answers(length[test], 1e3 * one, one, one)}
    found["hand_ridge"] = ridge_answers(hand, ads, train, test, seed=seed)
    found["tfidf_ridge"] = ridge_answers(tfidf, ads, train, test, seed=seed)
    if last is not None:
        found["encoder_last_layer_ridge"] = ridge_answers(last, ads, train, test, seed=seed, scale=10.0)
    return found


def joined(parts: list[tuple[np.ndarray, Answers]], rows: int) -> Answers:
    """Answers of several folds in the order of the table."""
    columns = [np.full(rows, np.nan) for _ in range(4)]
    for test, answers in parts:
        for column, values in zip(columns, (answers.contrasts, answers.residual, answers.quantile, answers.sharpness), strict=True):
            column[test] = values
    return Answers(*columns)


def measured(
    ads: pl.DataFrame,
    splits: list[tuple[np.ndarray, np.ndarray]],
    encoder: TextEncoder | None,
    last: np.ndarray | None,
    *,
    seed: int,
    resamples: int,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, float], AdScorePredictor]:
    """Metrics per contestant over all test rows, what fitting cost, and the predictor of the last split."""
    answers: dict[str, list[tuple[np.ndarray, Answers]]] = {}
    fit_cpu = []
    for number, (train, test) in enumerate(splits, start=1):
        before = own_cpu()
        predictor = AdScorePredictor(encoder=encoder if encoder is not None else "none").fit(ads.filter(pl.Series(train)), seed=seed)
        fit_cpu.append(own_cpu() - before)
        held = ads.filter(pl.Series(test))
        answers.setdefault("stack", []).append((test, Answers.of(predictor, held)))
        for name, found in rivals(ads, train, test, last, seed=seed).items():
            answers.setdefault(name, []).append((test, found))
        print(f"  split {number}/{len(splits)}: weights {predictor.details['weights']}, {fit_cpu[-1]:.0f} CPU s", flush=True)
    judged = np.any([test for _, test in splits], axis=0)
    table = ads.filter(pl.Series(judged))
    pairs = Pairs.of(table, rng=np.random.default_rng([seed, 1]), clusters=table["story_id"].to_numpy(), differ_in="headline")
    results, hits = {}, {}
    for name, parts in answers.items():
        whole = joined(parts, ads.height)
        own = Answers(whole.contrasts[judged], whole.residual[judged], whole.quantile[judged], whole.sharpness[judged])
        results[name] = pairs.metrics(own, rng=np.random.default_rng([seed, 2]), n_resamples=resamples)
        hits[name] = pairs.right(own.contrasts)
    for name in list(hits)[1:]:
        difference = cluster_mean(
            hits["stack"] - hits[name], pairs.clusters[pairs.first], rng=np.random.default_rng([seed, 3]), n_resamples=resamples
        )
        results[name]["gain_over"] = difference
    sizes = {
        "ads": table.height,
        "groups": pairs.seen.n_groups,
        "pairs": pairs.first.size,
        "significant_pairs": int(pairs.significant.sum()),
    }
    return results, {"fit_cpu_seconds": float(np.median(fit_cpu)), **sizes}, predictor


def report(title: str, results: dict[str, dict[str, Estimate]], costs: dict[str, float]) -> None:
    """One column per contestant."""
    rows = [[metric, *(str(found[metric]) for found in results.values())] for metric in SHOWN]
    rows.append(["gain of the stack in all pairs", "", *(str(found["gain_over"]) for name, found in results.items() if name != "stack")])
    sizes = ", ".join(f"{int(costs[name]):,} {name.replace('_', ' ')}" for name in ("ads", "groups", "pairs", "significant_pairs"))
    show(f"{title}: {sizes}", ["", *results], rows)


def flat(results: dict[str, dict[str, Estimate]], prefix: str = "") -> dict[str, float]:
    """Flat names for JSON; the chosen model's have no prefix of their own."""
    found = {}
    for name, metrics in results.items():
        own = prefix if name == "stack" else f"{prefix}{name}_"
        for metric, estimate in metrics.items():
            found |= {f"{own}{metric}": estimate.value, f"{own}{metric}_low": estimate.low, f"{own}{metric}_high": estimate.high}
    return found


def encoded(names: str, ads: pl.DataFrame) -> tuple[TextEncoder | None, np.ndarray | None, dict[str, float]]:
    """The encoder with all headlines encoded once, the last layer of MiniLM for the rival, and what that cost."""
    name = names
    if name == "best":
        name = MPNET.name if installed(MPNET) else MINILM.name if installed(MINILM) else "none"
    encoder = find_encoder(name, cache=CACHE)
    if encoder is None:
        return None, None, {}
    # As the model reads them: see `features.plain_text`.
    texts = sorted({plain_text(text).lower() for text in ads["headline"].to_list()})
    kept = CACHE.parent / "benchmarks" / f"{encoder.sha256[:16]}-{hashlib.sha256(repr(texts).encode()).hexdigest()[:16]}.npy"
    costs = {}
    if kept.is_file():
        vectors = np.load(kept, allow_pickle=False)
    else:
        print(f"encoding {len(texts):,} headlines with {name} ...", flush=True)
        before = own_cpu()
        vectors = encoder.encode(texts, remember=False)
        costs = {"encode_cpu_seconds": own_cpu() - before, "encoded_per_cpu_second": len(texts) / (own_cpu() - before)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(".tmp.npy")
        np.save(temporary, vectors)
        temporary.replace(kept)
    last = None
    if installed(MINILM):
        from within_pipelines.prediction.encoder import _package_folder

        usual = TransformerEncoder.open(_package_folder(MINILM), name="last layer", layers=(6,), expected=MINILM.sha256)
        place = dict(zip(texts, usual.encode(texts, remember=False), strict=True))
        last = np.stack([place[plain_text(text).lower()] for text in ads["headline"].to_list()]).astype(float)
    return Lookup(encoder, dict(zip(texts, vectors, strict=True))), last, costs


def speed(ads: pl.DataFrame, encoder: TextEncoder | None, *, seed: int) -> dict[str, float]:
    """Rows per second of the heads, and the time of a single answer: to a text that was never seen (`predict_one`), and to one that the
    encoder remembers (`predict_known`); one thread, a warm process."""
    import torch

    torch.set_num_threads(1)
    some = ads.filter(pl.col("group_id").is_in(ads["group_id"].unique().sort().head(300).to_list()))
    predictor = AdScorePredictor(encoder=encoder if encoder is not None else "none").fit(some, seed=seed)
    many = pl.concat([some] * 10)
    before = own_cpu()
    predictor.contrasts(many)
    found = {"rows_per_cpu_second": many.height / (own_cpu() - before)}
    live = replace_encoder(predictor)
    for name, headlines in (
        ("predict_one", [f"{some['headline'][i % some.height]} {i}" for i in range(520)]),
        ("predict_known", [some["headline"][i % 20] for i in range(520)]),
    ):
        wall, cpu = [], []
        for headline in headlines:
            row = pl.DataFrame({"headline": [headline]})
            start, used = time.perf_counter(), time.process_time()
            live.predict(row)
            wall.append(1000 * (time.perf_counter() - start))
            cpu.append(1000 * (time.process_time() - used))
        found |= {f"{name}_ms_p{q}": float(np.percentile(wall[20:], q)) for q in (50, 99)}
        found |= {f"{name}_cpu_ms": float(np.mean(cpu[20:])), f"{name}_cpu_ms_p99": float(np.percentile(cpu[20:], 99))}
    return found


def runtime_gain(ads: pl.DataFrame, encoder: TextEncoder | None, *, seed: int, repeats: int = 150) -> dict[str, float]:
    """How many times as fast as torch the ONNX Runtime reads 1 to 4 new texts: processor time, both on the same texts in turn in one
    process with one thread, the median of the pairs' ratios with its 95 % interval (bootstrap over pairs); and how far they differ."""
    import torch

    if not isinstance(encoder, TransformerEncoder) or encoder.graph is None:
        print("ONNX Runtime is not installed (extra onnx), or there is no encoder: it is not compared with torch.\n")
        return {}
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, 5])
    texts = sorted({plain_text(text).lower() for text in ads["headline"].to_list()})
    found, apart = {}, 0.0
    for size in (1, 2, 3, 4):
        ratios = []
        for number in range(repeats + 20):
            some = [str(text) for text in rng.choice(texts, size, replace=False)]
            ways = {"torch": encoder._encoded, "onnx": encoder._encoded_by_graph}
            cpu, said = {}, {}
            for way in sorted(ways, reverse=bool(number % 2)):
                before = time.process_time()
                said[way] = ways[way](some)
                cpu[way] = time.process_time() - before
            ratios.append(cpu["torch"] / cpu["onnx"])
            apart = max(apart, float(np.abs(said["torch"] - said["onnx"]).max()))
        kept = np.array(ratios[20:])
        drawn = np.median(rng.choice(kept, (1000, kept.size)), axis=1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        found |= {
            f"onnx_times_torch_{size}": float(np.median(kept)),
            f"onnx_times_torch_{size}_low": low,
            f"onnx_times_torch_{size}_high": high,
        }
    return found | {"onnx_apart_from_torch": apart}


def bulk(ads: pl.DataFrame, encoder: TextEncoder | None, *, rows: int, seed: int) -> dict[str, float]:
    """Contrasts of `rows` ads from texts alone, in a process of their own: CPU, and its highest memory before, after a tenth, after all.

    The rows repeat the ads of 300 groups; every 200th has a headline of its own. So few distinct texts flatter the time where meaning is
    encoded, not the memory."""
    some = ads.filter(pl.col("group_id").is_in(ads["group_id"].unique().sort().head(300).to_list()))
    predictor = AdScorePredictor(encoder=encoder if encoder is not None else "none").fit(some, seed=seed)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        predictor.save(Path(folder) / "model")
        name = "none" if encoder is None else encoder.name
        return alone.submit(answered, Path(folder) / "model", name, some.select("group_id", "headline"), rows).result()


def answered(folder: Path, encoder: str, few: pl.DataFrame, rows: int) -> dict[str, float]:
    """What `bulk` says, in the process that only answers."""
    predictor = AdScorePredictor.load(folder, encoder=find_encoder(encoder, cache=CACHE))

    def table(height: int) -> pl.DataFrame:
        number = pl.int_range(height, eager=True).alias("number")
        own = pl.when(pl.col("number") % 200 == 0).then(pl.concat_str("headline", "number", separator=" ")).otherwise("headline")
        return few[(number % few.height).to_list()].with_columns(number).with_columns(headline=own).drop("number")

    found = {"bulk_rows": float(rows), "bulk_peak_mb_loaded": peak_mb()}
    predictor.contrasts(table(rows // 10))
    found["bulk_peak_mb_tenth"] = peak_mb()
    whole = table(rows)
    found |= {"bulk_distinct_share": whole["headline"].n_unique() / rows, "bulk_table_mb": whole.estimated_size("mb")}
    before = own_cpu()
    answers = predictor.contrasts(whole)
    if not np.isfinite(answers).all() or len(answers) != rows:
        raise RuntimeError(f"{np.isfinite(answers).sum():,} of {rows:,} ads were answered with a number.")
    return found | {"bulk_cpu_seconds": own_cpu() - before, "bulk_peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process has held so far (resident, MB of 2^20 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux `ru_maxrss` of a fresh process starts at what its parent held.
        held = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(held.split()[1]) / (1 << 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def replace_encoder(predictor: AdScorePredictor) -> AdScorePredictor:
    """The same predictor that encodes for real instead of looking up."""
    state = predictor._state
    encoder = state.inputs.encoder
    if isinstance(encoder, Lookup):
        predictor._fitted = replace(state, inputs=replace(state.inputs, encoder=encoder.encoder))
    return predictor


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--encoder", default="best", help="best (all-mpnet-base-v2 where installed), a name, a folder, or none")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--cost", action="store_true", help="measure the cost alone")
    parser.add_argument("--rows", type=int, default=50_000, help="ads of the bulk run that --cost ends with (a million takes minutes)")
    options = parser.parse_args()
    data = packages(options.data).with_columns(part=pl.lit("data"))
    metrics: dict[str, float] = {}
    ads = data
    if options.test_data is not None:
        ads = pl.concat([data, packages(options.test_data).with_columns(part=pl.lit("test"))])
    encoder, last, costs = encoded(options.encoder, ads)
    chosen = "words only" if encoder is None else encoder.name
    keep = {"seed": options.seed, "resamples": options.resamples}
    if options.cost:
        pass
    elif options.test_data is not None:
        train = (ads["part"] == "data").to_numpy()
        results, sizes, _ = measured(ads, [(train, ~train)], encoder, last, **keep)
        report(f"Fitted on --data, judged on --test-data ({chosen})", results, sizes)
        metrics |= flat(results) | sizes
    else:
        fold = rows_of(ads["story_id"], seed=options.seed)
        results, sizes, _ = measured(ads, [(fold != k, fold == k) for k in range(5)], encoder, last, **keep)
        report(f"Five-fold by story ({chosen})", results, sizes)
        metrics |= flat(results) | sizes
        late = (ads["test_week"] >= SPLIT_WEEK).to_numpy()
        # A story of both periods would be known; it is left out of the older one.
        both = set(ads.filter(pl.Series(late))["story_id"].to_list())
        early = ~late & ~ads["story_id"].is_in(sorted(both)).to_numpy()
        results, sizes, predictor = measured(ads, [(early, late)], encoder, last, **keep)
        report(f"Fitted before week {SPLIT_WEEK}, judged after ({chosen})", results, sizes)
        metrics |= flat(results, "time_") | {f"time_{name}": value for name, value in sizes.items()}
        metrics |= {f"time_{name}": value for name, value in level_coverage(predictor, ads, late, **keep).items()}
    costs |= speed(data, encoder, seed=options.seed)
    if options.cost:
        costs |= runtime_gain(data, encoder.encoder if isinstance(encoder, Lookup) else encoder, seed=options.seed)
        costs |= bulk(data, encoder, rows=options.rows, seed=options.seed)
    show("Cost", ["what", "measured"], [[name, f"{value:.4g}" if value < 1 else f"{value:,.1f}"] for name, value in costs.items()])
    write_json(options.json, metrics | costs)


if __name__ == "__main__":
    main()
