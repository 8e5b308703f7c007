"""A language model as text encoder: what its middle layers hold of a text, from frozen weights on disk.

A model that has learned to continue any text knows more of how a headline is put than an encoder that was trained to find texts about the
same thing. It is much larger: half of a model of 1.5 billion parameters takes about half a second of processor for a headline."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction.encoder import LANGUAGE_MODELS, MOST_TOKENS, checked_files, encode_once, read_config

if TYPE_CHECKING:
    import torch

Floats32 = NDArray[np.float32]
# The first token of a text draws most attention to itself, and its hidden state dwarfs all others: it must not be one of the text.
_LEAD = "Headline:"
_PARTS = (
    *(f"self_attn.{name}_proj.{kind}" for name in "qkv" for kind in ("weight", "bias")),
    "self_attn.o_proj.weight",
    *(f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    *(f"{name}_layernorm.weight" for name in ("input", "post_attention")),
)


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """The parameters of a Qwen2 decoder (Yang et al. 2024) up to the highest layer that is needed.

    Each layer is attention with rotary positions (Su et al. 2021) and grouped keys (Ainslie et al. 2023), then a gated unit (Shazeer 2020),
    both on root-mean-square norms."""

    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    heads: int
    key_heads: int
    layers: int
    epsilon: float
    rotary_base: float

    @property
    def width(self) -> int:
        """Length of a hidden state."""
        return int(self.tensors["embed_tokens.weight"].shape[1])

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self.tensors["embed_tokens.weight"].device

    def hidden_states(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """Hidden states (texts x tokens x width) after the embedding and after each layer.

        A token sees what stands before it alone, so padding behind a text changes nothing in it."""
        import torch
        from torch.nn import functional

        w = self.tensors

        def normed(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.rms_norm(x, (self.width,), w[f"{name}.weight"], self.epsilon)

        def linear(x: torch.Tensor, name: str) -> torch.Tensor:
            return functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

        texts, tokens = ids.shape
        size = w["layers.0.self_attn.q_proj.weight"].shape[0] // self.heads if self.layers else 2
        cosine, sine = self._turns(tokens, size)

        def turned(x: torch.Tensor) -> torch.Tensor:
            near, far = x.chunk(2, dim=-1)
            return x * cosine + torch.cat((-far, near), dim=-1) * sine

        x = w["embed_tokens.weight"][ids]
        states = [x]
        for layer in range(self.layers):
            at = f"layers.{layer}"
            inner = normed(x, f"{at}.input_layernorm")
            q, k, v = (
                linear(inner, f"{at}.self_attn.{part}_proj").view(texts, tokens, heads, size).transpose(1, 2)
                for part, heads in (("q", self.heads), ("k", self.key_heads), ("v", self.key_heads))
            )
            k, v = (part.repeat_interleave(self.heads // self.key_heads, dim=1) for part in (k, v))
            mixed = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
            x = x + linear(mixed.transpose(1, 2).reshape(texts, tokens, self.heads * size), f"{at}.self_attn.o_proj")
            inner = normed(x, f"{at}.post_attention_layernorm")
            gated = functional.silu(linear(inner, f"{at}.mlp.gate_proj")) * linear(inner, f"{at}.mlp.up_proj")
            x = x + linear(gated, f"{at}.mlp.down_proj")
            states.append(x)
        return states

    def _turns(self, tokens: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of each position's turn per dimension of a head (tokens x size)."""
        import torch

        speed = 1 / self.rotary_base ** (torch.arange(0, size, 2, dtype=torch.float32, device=self.device) / size)
        angle = torch.outer(torch.arange(tokens, dtype=torch.float32, device=self.device), speed)
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos(), angle.sin()


@dataclass(frozen=True, slots=True)
class LanguageModelEncoder:
    """Middle layers of a language model, each the mean over a text's tokens, side by side; read from a folder as published.

    The text follows a fixed lead that does not count. The newest few thousand texts are remembered. Numbers are float32, on a GPU where
    torch finds one."""

    name: str
    sha256: str
    layers: tuple[int, ...]
    weights: DecoderWeights
    tokenizer: Any = field(repr=False)
    lead: tuple[int, ...]
    remembered: OrderedDict[str, Floats32] = field(default_factory=OrderedDict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path, *, name: str, layers: tuple[int, ...] | None = None) -> LanguageModelEncoder:
        """Read `model.safetensors`, `tokenizer.json` and `config.json` of a Qwen2 model; layers above the highest are left out.

        Without `layers` the one at half of the depth is read.

        Raises `ArtifactError` when a file or a part of the weights is missing, and for an architecture that this code does not compute."""
        import torch
        from safetensors import safe_open
        from tokenizers import Tokenizer

        digests = checked_files(folder)
        config = read_config(folder)
        rotary = config.get("rope_parameters") or config.get("rope_scaling") or {}
        depth = int(config.get("num_hidden_layers", 0))
        read = layers if layers is not None else (round(depth / 2),)
        if (
            config.get("model_type") not in LANGUAGE_MODELS
            or config.get("hidden_act") != "silu"
            or config.get("use_sliding_window")
            or rotary.get("rope_type", rotary.get("type", "default")) != "default"
            or not 0 <= min(read) <= max(read) < depth
        ):
            raise ArtifactError(
                f"{folder} holds a {config.get('model_type')} model of {depth} layers; this code reads layers {', '.join(map(str, read))} "
                f"of {' and '.join(LANGUAGE_MODELS)} models with silu units, whole attention and plain rotary positions."
            )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        used = {}
        with safe_open(folder / "model.safetensors", framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - a file, no mapping
                own = key.removeprefix("model.")
                if own == "embed_tokens.weight" or (own.startswith("layers.") and int(own.split(".")[1]) < max(read)):
                    used[own] = stored.get_tensor(key).to(device, torch.float32)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        lead = tuple(tokenizer.encode(_LEAD, add_special_tokens=False).ids)
        base = config.get("rope_theta") or rotary.get("rope_theta", 10_000.0)
        heads = int(config.get("num_attention_heads", 0))
        needed = {"embed_tokens.weight", *(f"layers.{layer}.{part}" for layer in range(max(read)) for part in _PARTS)}
        if heads < 1 or not needed <= set(used):
            lacking = ", ".join(sorted(needed - set(used))[:3]) or "num_attention_heads"
            raise ArtifactError(f"{folder} lacks {lacking}; give a whole Qwen2 model with its weights in one file.")
        key_heads, epsilon = config.get("num_key_value_heads", heads), config.get("rms_norm_eps", 1e-6)
        weights = DecoderWeights(used, heads, key_heads, max(read), epsilon, float(base))
        identity = json.dumps([digests["model.safetensors"], digests["tokenizer.json"], read, _LEAD])
        return cls(name, hashlib.sha256(identity.encode()).hexdigest(), read, weights, tokenizer, lead)

    @property
    def dimension(self) -> int:
        """Width of one layer times the number of layers."""
        return len(self.layers) * self.weights.width

    def encode(self, texts: Sequence[str], *, remember: bool = True) -> Floats32:
        """One row of `dimension` numbers per text; an empty text is a row of zeros, and of a long one the first 64 tokens count."""
        return encode_once(texts, self.remembered, self.dimension, self._encoded, few=self._encoded, remember=remember)

    def _encoded(self, texts: Sequence[str]) -> Floats32:
        import torch

        words = [self.tokenizer.encode(f" {text}", add_special_tokens=False).ids[:MOST_TOKENS] for text in texts]
        longest, before = max(len(own) for own in words), len(self.lead)
        ids = torch.zeros(len(words), before + longest, dtype=torch.long)
        there = torch.zeros(len(words), before + longest, 1)
        for row, own in enumerate(words):
            ids[row, : before + len(own)] = torch.tensor([*self.lead, *own])
            there[row, before : before + len(own)] = 1
        ids, there = ids.to(self.weights.device), there.to(self.weights.device)
        with torch.inference_mode():
            states = self.weights.hidden_states(ids)
            pooled = torch.cat([(states[layer] * there).sum(1) / there.sum(1).clamp(min=1) for layer in self.layers], dim=1)
        result: Floats32 = pooled.cpu().numpy()
        return result
