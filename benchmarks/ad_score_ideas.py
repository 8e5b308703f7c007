"""What further ideas give the ad score on real headline tests, beside the stack as it is and added to it.

Five folds by story of `benchmarks/ad_score.py`; the stack is the product's own, fitted on the other four. Each idea is fitted on the same
four folds and judged on the fifth, alone and as a further part: the non-negative weights of a fold come from what all parts said of the
other folds, with the idea and without. Gains are paired, in shares of pairs told right; 95 % intervals resample stories. The row "product"
is the stack with its own weights, beside the same parts with weights from the other folds. Ideas are judged on --data alone.

- attention: one layer of attention over the siblings of a group, on principal components of the frozen meaning and text statistics,
  Bradley-Terry loss on soft labels, the mean of several seeds; attention_off is the same network in which an ad sees itself alone.
- finetune: the two upper layers that are read and the line on them, one epoch from the stack's ridge on meaning, the mean of several seeds.
- pooling: a ridge on mean, first token and maximum over tokens of the frozen layers, side by side.
- novelty: boosted trees on text statistics and what sets a headline apart from its siblings (words, length, meaning)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch
from _common import arguments, own_cpu, show, write_json
from ad_score import CACHE, Lookup, packages, rows_of
from torch.nn import functional

from within_pipelines.features import plain_text
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.ad_score.contrasts import between_ad_variance, group_mean, observe, within_group
from within_pipelines.prediction.ad_score.evaluation import Pairs
from within_pipelines.prediction.ad_score.inputs import Inputs
from within_pipelines.prediction.ad_score.model import Sample, cross_fit_ridge, fit_ridge, fit_trees, open_trees, stack_weights, tree_values
from within_pipelines.prediction.ad_score.network import soft_labels
from within_pipelines.prediction.ad_score.stack import Stack
from within_pipelines.prediction.encoder import TransformerEncoder, TransformerWeights, find_encoder, mean_pooled
from within_pipelines.stats import cluster_mean

Floats = np.ndarray
COMPONENTS, WIDTH, HEADS = 128, 64, 4
ATTENTION_EPOCHS, ATTENTION_RATE, ATTENTION_GROUPS = 8, 1e-3, 64
TUNED_LAYERS, TUNE_GROUPS = 2, 16
POOLING_PENALTIES = (10_000.0, 30_000.0, 100_000.0)


@dataclass
class Texts:
    """What the frozen encoder says of each text: the mean, first token and maximum of the layers that are read, and the hidden states of
    its tokens below the layers that are trained."""

    encoder: TransformerEncoder
    place: dict[str, int] = field(default_factory=dict)
    pooled: list[Floats] = field(default_factory=list)
    tokens: list[Floats] = field(default_factory=list)

    @property
    def below(self) -> int:
        """The highest layer that stays as it is."""
        return self.encoder.weights.layers - TUNED_LAYERS

    def rows(self, texts: Sequence[str]) -> list[int]:
        """Place of each text; new ones are encoded."""
        new = sorted(set(texts) - self.place.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            ids, mask = self.encoder.tokens(batch)
            with torch.inference_mode():
                states = self.encoder.weights.hidden_states(ids, mask)
                read = [states[layer] for layer in self.encoder.layers]
                outside = torch.where(mask[..., None] > 0, 0.0, -torch.inf)
                mean = torch.cat([mean_pooled(state, mask) for state in read], 1)
                other = torch.cat([*(state[:, 0] for state in read), *((state + outside).amax(1) for state in read)], 1)
            for row, text in enumerate(batch):
                self.place[text] = len(self.tokens)
                self.pooled.append(torch.cat([mean[row], other[row]]).numpy())
                self.tokens.append(states[self.below][row, : int(mask[row].sum())].numpy().copy())
        return [self.place[text] for text in texts]

    def kept(self, texts: Sequence[str], folder: Path | None) -> None:
        """Encode all of `texts`, or read what an earlier run encoded in `folder`."""
        name = hashlib.sha256(repr((self.encoder.sha256, sorted(set(texts)))).encode()).hexdigest()[:16]
        file = None if folder is None else folder / f"texts-{name}.npz"
        if file is None or not file.is_file():
            self.rows(texts)
            if file is not None:
                lengths = np.array([len(own) for own in self.tokens])
                np.savez(file, text=np.array(list(self.place)), pooled=self.pooled, tokens=np.concatenate(self.tokens), lengths=lengths)
            return
        with np.load(file, allow_pickle=False) as found:
            self.place = {str(text): row for row, text in enumerate(found["text"])}
            self.pooled = list(found["pooled"])
            self.tokens = np.split(found["tokens"], np.cumsum(found["lengths"])[:-1])


@dataclass(frozen=True)
class Split:
    """One fold: what is learned from, what is judged, and the product's stack fitted on the former."""

    number: int
    train: np.ndarray
    test: np.ndarray
    inputs: Inputs
    stack: Stack
    sample: Sample
    spread: float
    x: Floats
    group: np.ndarray
    train_texts: list[str]
    test_texts: list[str]
    fold: np.ndarray
    seed: int

    def meaning(self, x: Floats) -> Floats:
        """The encoder's columns."""
        return x[:, self.inputs.n_explained :]

    @cached_property
    def components(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Principal components of the meaning, and standardised text statistics, of the training rows and of the judged ones."""
        ridge, words, hand = self.stack.meaning, self.stack.words, slice(0, self.inputs.n_hand)
        assert ridge is not None
        assert words is not None

        def standard(x: Floats, mean: Floats, scale: Floats) -> Floats:
            return np.nan_to_num(np.clip((x - mean) / scale, -6, 6), nan=0.0)

        z = standard(self.meaning(self.sample.x), ridge.mean, ridge.scale)
        _, axes = np.linalg.eigh(z.T @ z / len(z))
        axes = axes[:, : -COMPONENTS - 1 : -1]
        size = np.sqrt(np.mean((z @ axes) ** 2))

        def inputs(x: Floats) -> torch.Tensor:
            meaning = standard(self.meaning(x), ridge.mean, ridge.scale) @ axes / size
            return torch.tensor(np.column_stack([meaning, standard(x[:, hand], words.mean[hand], words.scale[hand])]), dtype=torch.float32)

        return inputs(self.sample.x), inputs(self.x)


def split_of(ads: pl.DataFrame, train: np.ndarray, number: int, lookup: Lookup, folder: Path | None, *, seed: int) -> Split:
    """Fit the product on the training rows, or read what an earlier run fitted."""
    kept = None if folder is None else folder / f"fold-{seed}-{number}"
    if kept is not None and kept.is_dir():
        predictor = AdScorePredictor.load(kept, encoder=lookup)
    else:
        predictor = AdScorePredictor(encoder=lookup).fit(ads.filter(pl.Series(train)), seed=seed)
        if kept is not None:
            predictor.save(kept)
    state = predictor._state
    older, newer = ads.filter(pl.Series(train)), ads.filter(pl.Series(~train))
    seen, judged = (observe((part["clicks"] / part["impressions"]).to_numpy(), part["impressions"].to_numpy().astype(float),
                            part["group_id"].to_numpy()) for part in (older, newer))  # fmt: skip
    spread = float(np.sqrt(between_ad_variance(seen)))
    weight = 1 / (seen.variance + spread**2)
    contrast = within_group(seen.log_odds, weight, seen.group, seen.n_groups)
    texts = [state.inputs.texts(part)["headline"] for part in (older, newer)]
    return Split(
        number, train, ~train, state.inputs, state.stack, Sample(state.inputs.matrix(older), contrast, weight, seen.group), spread,
        state.inputs.matrix(newer), judged.group, *texts, rows_of(older["story_id"], seed=seed + 1), seed,
    )  # fmt: skip


def parts_of(split: Split) -> dict[str, Floats]:
    """What each part of the product's stack says of the judged rows, and the whole with the product's own weights."""
    every = replace(split.stack, weights=dict.fromkeys(split.stack.weights, 1.0))
    said = {}
    for name, (part, columns) in every._parts(split.inputs, split.x).items():
        seen = np.ascontiguousarray(split.x[:, columns])
        said[name] = tree_values(part, seen) if name == "trees" else part(seen)
    return said | {"product": split.stack(split.inputs, split.x)}


def descend(
    score_of: Callable[[np.ndarray], torch.Tensor], parameters: Sequence[torch.Tensor], split: Split, rng: np.random.Generator, *,
    epochs: int, groups: int, rate: float, decay: float,
) -> None:  # fmt: skip
    """Descend the Bradley-Terry loss on soft labels, `groups` groups in a step; `score_of` scores rows of the sample, siblings together."""
    first, second, better, weight = soft_labels(split.sample, split.spread)
    n = split.sample.n_groups
    pairs, rows = by_group(split.sample.group[first], n), by_group(split.sample.group, n)
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * -(-n // groups))
    place = np.zeros(split.sample.y.size, np.int64)
    for _ in range(epochs):
        order = rng.permutation(n)
        for start in range(0, n, groups):
            chosen = order[start : start + groups]
            own, pair = (np.concatenate([found[g] for g in chosen]) for found in (rows, pairs))
            place[own] = np.arange(own.size)
            score = score_of(own)
            gap = score[place[first[pair]]] - score[place[second[pair]]]
            aim, counts = (torch.tensor(values[pair], dtype=torch.float32) for values in (better, weight))
            loss = functional.binary_cross_entropy_with_logits(gap, aim, weight=counts, reduction="sum") / own.size
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def by_group(group: np.ndarray, n: int) -> list[np.ndarray]:
    """Places of each group."""
    return np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=n))[:-1])


class Siblings(torch.nn.Module):
    """A line, and beside it one layer in which each ad attends to its siblings (or to itself alone); order says nothing."""

    def __init__(self, inputs: int, *, attend: bool) -> None:
        super().__init__()
        self.line, self.enter, self.leave = (torch.nn.Linear(i, o) for i, o in ((inputs, 1), (inputs, WIDTH), (WIDTH, 1)))
        self.layer = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.3, batch_first=True, norm_first=True)
        self.attend = attend

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Scores (groups x most siblings) of padded groups (groups x most siblings x inputs)."""
        x = functional.dropout(x, 0.2, self.training)
        alone = None if self.attend else ~torch.eye(x.shape[1], dtype=torch.bool)
        h = self.layer(self.enter(x), src_mask=alone, src_key_padding_mask=~there if self.attend else None)
        return (self.line(x) + self.leave(functional.dropout(h, 0.3, self.training)))[..., 0]

    def scores(self, x: torch.Tensor, group: np.ndarray) -> torch.Tensor:
        """One score per row; rows of a group need not lie together."""
        _, group = np.unique(group, return_inverse=True)
        column = np.zeros(group.size, np.int64)
        for own in by_group(group, int(group.max()) + 1):
            column[own] = np.arange(own.size)
        shape = int(group.max()) + 1, int(column.max()) + 1
        padded, there = torch.zeros(*shape, x.shape[1]), torch.zeros(*shape, dtype=torch.bool)
        padded[group, column], there[group, column] = x, True
        return self(padded, there)[group, column]


def attention(split: Split, member: int, *, attend: bool) -> Floats:
    """The score of one network over siblings."""
    seen, judged = split.components
    torch.manual_seed(1000 * split.seed + member)
    network = Siblings(seen.shape[1], attend=attend)
    descend(
        lambda rows: network.scores(seen[torch.from_numpy(rows)], split.sample.group[rows]), list(network.parameters()), split,
        np.random.default_rng([split.seed, 61, member]), epochs=ATTENTION_EPOCHS, groups=ATTENTION_GROUPS, rate=ATTENTION_RATE, decay=0.05,
    )  # fmt: skip
    network.eval()
    with torch.inference_mode():
        return network.scores(judged, split.group).numpy()


class Upper(TransformerWeights):
    """The upper layers alone: token numbers are places in a table of hidden states of the layer below them."""

    def embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states below the first layer of these."""
        return self.tensors["embeddings.word_embeddings.weight"][ids]


def upper_layers(texts: Texts) -> tuple[Upper, list[torch.Tensor]]:
    """A trainable copy of the upper layers that are read."""
    frozen, below = texts.encoder.weights, texts.below
    tensors = {key: value for key, value in frozen.tensors.items() if ".layer." not in key}
    tensors["embeddings.word_embeddings.weight"] = torch.from_numpy(np.concatenate(texts.tokens))
    trained = []
    for key, value in frozen.tensors.items():
        layer = int(key.split(".layer.")[1].split(".")[0]) if ".layer." in key else -1
        if layer >= below:
            trained.append(value.clone().requires_grad_())
            tensors[key.replace(f".layer.{layer}.", f".layer.{layer - below}.")] = trained[-1]
    return Upper(tensors, frozen.kind, frozen.heads, frozen.layers - below, frozen.epsilon), trained


def finetuned(split: Split, texts: Texts, member: int, *, rate: float) -> Floats:
    """The score of one fine-tune from the frozen layers and the ridge on them (Kumar et al. 2022)."""
    ridge, width = split.stack.meaning, texts.encoder.weights.width
    assert ridge is not None
    seen, judged = np.array(texts.rows(split.train_texts)), np.array(texts.rows(split.test_texts))
    lengths = np.array([len(own) for own in texts.tokens])
    starts = np.cumsum(lengths) - lengths
    frozen = torch.from_numpy(np.stack(texts.pooled)[:, : texts.encoder.dimension])
    layers = [layer - texts.below for layer in texts.encoder.layers]
    mean, scale = (torch.tensor(values, dtype=torch.float32) for values in (ridge.mean, ridge.scale))

    def score(rows: np.ndarray, upper: Upper, line: torch.Tensor, dropped: float) -> torch.Tensor:
        longest = np.arange(lengths[rows].max())
        mask = torch.from_numpy((longest < lengths[rows, None]).astype(np.int64))
        ids = torch.from_numpy(np.minimum(starts[rows, None] + longest, len(upper.tensors["embeddings.word_embeddings.weight"]) - 1))
        states = upper.hidden_states(ids, mask)
        own = frozen[torch.from_numpy(rows)]
        read = [mean_pooled(states[layer], mask) if layer > 0 else own[:, i * width : (i + 1) * width] for i, layer in enumerate(layers)]
        z = torch.nan_to_num(((torch.cat(read, 1) - mean) / scale).clamp(-6, 6))
        return functional.dropout(z, dropped, dropped > 0) @ line

    # The ridge speaks in log-odds of a click, the loss of log-odds of winning.
    bold = boldness(split, ridge(split.meaning(split.sample.x)))
    torch.manual_seed(1000 * split.seed + member)
    upper, trained = upper_layers(texts)
    line = torch.tensor(bold * ridge.coefficients, dtype=torch.float32).requires_grad_()
    descend(
        lambda rows: score(seen[rows], upper, line, 0.1), [*trained, line], split,
        np.random.default_rng([split.seed, 62, member]), epochs=1, groups=TUNE_GROUPS, rate=rate, decay=0.01,
    )  # fmt: skip
    with torch.inference_mode():
        return np.concatenate([score(judged[start : start + 64], upper, line, 0.0).numpy() for start in range(0, len(judged), 64)])


def boldness(split: Split, score: Floats) -> float:
    """The factor by which scores of the training rows have the least Bradley-Terry loss."""
    first, second, better, weight = soft_labels(split.sample, split.spread)
    gap, factors = score[first] - score[second], np.geomspace(0.5, 32, 25)
    loss = [float(weight @ (np.logaddexp(0, factor * gap) - better * factor * gap)) for factor in factors]
    return float(factors[int(np.argmin(loss))])


def pooling(split: Split, texts: Texts) -> Floats:
    """A ridge on mean, first token and maximum."""
    seen, judged = (np.stack([texts.pooled[row] for row in texts.rows(own)]).astype(float) for own in (split.train_texts, split.test_texts))
    sample = Sample(seen, split.sample.y, split.sample.weight, split.sample.group)
    _, penalty = cross_fit_ridge(sample, split.fold, penalties=POOLING_PENALTIES)
    return fit_ridge(sample, penalty=penalty)(judged)


def novelty(split: Split) -> Floats:
    """Boosted trees on text statistics and on what sets a headline apart from its siblings."""

    def columns(x: Floats, group: np.ndarray) -> Floats:
        n, one = int(group.max()) + 1, np.ones(len(group))
        words = x[:, split.inputs.n_hand : split.inputs.n_explained] * split.inputs.idf
        sizes = np.bincount(group)[group]
        shared = (group_mean((words > 0).astype(float), one, group, n)[group] * sizes[:, None] - 1) / np.maximum(sizes[:, None] - 1, 1)
        total = np.maximum(words.sum(axis=1), 1e-9)
        apart = np.sqrt((within_group(split.meaning(x), one, group, n) ** 2).sum(axis=1))
        hand = x[:, : split.inputs.n_hand]
        length = within_group(np.nan_to_num(hand[:, split.inputs.features.index("headline_characters")]), one, group, n)
        return np.column_stack(
            [hand, (words * (1 - shared)).sum(axis=1) / total, total, apart, within_group(apart, one, group, n), length, sizes]
        )

    seen = Sample(columns(split.sample.x, split.sample.group), split.sample.y, split.sample.weight, split.sample.group)
    return tree_values(open_trees(fit_trees(seen, seed=split.seed, threads=1)), columns(split.x, split.group))


def stacked(sample: Sample, said: dict[str, Floats], fold: np.ndarray, folds: Sequence[int]) -> Floats:
    """Each fold's predictions with the non-negative weights that fit what the parts said of the other folds."""
    result = np.full(sample.y.size, np.nan)
    for k in folds:
        others = np.isin(fold, [other for other in folds if other != k])
        weights = stack_weights(sample.part(others), [own[others] for own in said.values()])
        result[fold == k] = sum(weight * own[fold == k] for weight, own in zip(weights, said.values(), strict=True))
    return result


def gains(
    pairs: Pairs, right: Floats, than: Floats, there: np.ndarray, *, seed: int, resamples: int
) -> Iterator[tuple[str, object]]:  # fmt: skip
    """Paired gain in all and in significant pairs."""
    for name, kept in (("all", there), ("significant", there & pairs.significant)):
        rng = np.random.default_rng([seed, 3])
        yield name, cluster_mean((right - than)[kept], pairs.clusters[pairs.first][kept], rng=rng, n_resamples=resamples)


def once(make: Callable[[], Floats], file: Path | None) -> tuple[Floats, float]:
    """What `make` says and the CPU seconds that it took, or both as an earlier run wrote them to `file`."""
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as found:
            return found["said"], float(found["cpu"])
    before = own_cpu()
    said = make()
    used = own_cpu() - before
    if file is not None:
        np.savez(file, said=said, cpu=used)
    return said, used


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__ or "")
    names = ("attention", "attention_off", "finetune", "pooling", "novelty")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--ideas", nargs="+", choices=names, default=list(names))
    parser.add_argument("--seeds", type=int, default=3, help="networks and fine-tunes that are averaged")
    parser.add_argument("--tuned-folds", type=int, default=2, help="folds on which fine-tunes are made, 2 to 5")
    parser.add_argument("--tune-rate", type=float, default=3e-5, help="highest learning rate of a fine-tune")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--keep", type=Path, default=None, help="folder where what is encoded, fitted and said is kept and read again")
    options = parser.parse_args()
    if not 2 <= options.tuned_folds <= 5:
        parser.error("give --tuned-folds from 2 to 5: the weights of a fold come from the others.")
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    ads = packages(options.data)
    fold = rows_of(ads["story_id"], seed=options.seed)
    encoder = find_encoder(options.encoder, cache=CACHE)
    if not isinstance(encoder, TransformerEncoder):
        parser.error("these ideas are about an encoder; give its name or folder.")
    texts = Texts(encoder)
    texts.kept([plain_text(text).lower() for text in ads["headline"].to_list()], options.keep)
    lookup = Lookup(encoder, {text: texts.pooled[row][: encoder.dimension] for text, row in texts.place.items()})
    ideas: dict[str, Callable[[Split, int], Floats]] = {
        "attention": lambda split, member: attention(split, member, attend=True),
        "attention_off": lambda split, member: attention(split, member, attend=False),
        "finetune": lambda split, member: finetuned(split, texts, member, rate=options.tune_rate),
        "pooling": lambda split, _: pooling(split, texts),
        "novelty": lambda split, _: novelty(split),
    }
    said: dict[str, Floats] = {}
    cpu: dict[str, list[float]] = {name: [] for name in ("stack", *options.ideas)}
    for k in range(5):
        before = own_cpu()
        split = split_of(ads, fold != k, k, lookup, options.keep, seed=options.seed)
        found = parts_of(split)
        cpu["stack"].append(own_cpu() - before)
        for name in options.ideas:
            if name != "finetune" or k < options.tuned_folds:
                members, used = [], 0.0
                label = f"{name}-{options.tune_rate:g}" if name == "finetune" else name
                for member in range(1 if name in ("pooling", "novelty") else options.seeds):
                    file = None if options.keep is None else options.keep / f"said-{options.seed}-{k}-{label}-{member}.npz"
                    own, seconds = once(lambda name=name, split=split, member=member: ideas[name](split, member), file)
                    members.append(own)
                    used += seconds
                found[name] = np.mean(members, axis=0)
                cpu[name].append(used)
        for name, own in found.items():
            said.setdefault(name, np.full(ads.height, np.nan))[split.test] = own
        print(
            f"  fold {k + 1}/5: CPU s " + ", ".join(f"{name} {own[-1]:.0f}" for name, own in cpu.items() if len(own) == k + 1), flush=True
        )
    report(ads, fold, said, cpu, options)


def report(ads: pl.DataFrame, fold: np.ndarray, said: dict[str, Floats], cpu: dict[str, list[float]], options) -> None:
    """The table of gains, also as JSON."""
    seen = observe((ads["clicks"] / ads["impressions"]).to_numpy(), ads["impressions"].to_numpy().astype(float), ads["group_id"].to_numpy())
    weight = 1 / (seen.variance + between_ad_variance(seen))
    sample = Sample(np.zeros((ads.height, 0)), within_group(seen.log_odds, weight, seen.group, seen.n_groups), weight, seen.group)
    pairs = Pairs.of(ads, rng=np.random.default_rng([options.seed, 1]), clusters=ads["story_id"].to_numpy(), differ_in="headline")
    keep = {"seed": options.seed, "resamples": options.resamples}
    base = {name: said[name] for name in ("words", "trees", "meaning", "network")}
    rows, metrics = [], {}
    for name in ("product", *options.ideas):
        folds = np.unique(fold[np.isfinite(said[name])]).tolist()
        there = np.isin(fold[pairs.first], folds)
        alone = pairs.right(said[name])
        without = pairs.right(stacked(sample, base, fold, folds))
        beside = alone if name == "product" else pairs.right(stacked(sample, base | {name: said[name]}, fold, folds))
        line = [name, f"{len(folds)}", f"{np.median(cpu['stack' if name == 'product' else name]):.0f}"]
        line += [f"{alone[there].mean():.3f} / {alone[there & pairs.significant].mean():.3f}"]
        for title, than, right in (("against_meaning", pairs.right(said["meaning"]), alone), ("stack_gain", without, beside)):
            for which, gain in gains(pairs, right, than, there, **keep):
                line.append(str(gain))
                metrics |= {
                    f"{name}_{title}_{which}{end}": value for end, value in (("", gain.value), ("_low", gain.low), ("_high", gain.high))
                }
        rows.append(line)
        metrics[f"{name}_cpu_seconds_fold"] = float(np.median(cpu["stack" if name == "product" else name]))
    columns = ["idea", "folds", "CPU s a fold", "alone: all / significant", "alone less ridge on meaning: all", "significant",
               "stack with less without: all", "significant"]  # fmt: skip
    show(f"Ideas for the ad score, {options.encoder}, {options.seeds} seeds: {pairs.first.size:,} pairs", columns, rows)
    write_json(options.json, metrics)


if __name__ == "__main__":
    main()
