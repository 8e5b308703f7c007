"""The encoder's graph says what torch says, and is asked only where a live answer waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.prediction.test_encoder import tiny_bert, tokenizer_file
from within_pipelines.prediction.encoder import MINILM, TransformerEncoder, find_encoder, installed
from within_pipelines.prediction.encoder_graph import EncoderGraph, runtime_installed

TEXTS = ["free coffee", "why moms love garden shoes today", "coffee coffee coffee", "today"]
needs_runtime = pytest.mark.skipif(not runtime_installed(), reason="the extra onnx is not installed")


class Loud:
    """A graph that answers with ones and counts what it is asked."""

    asked = 0

    def pooled(self, embedded: np.ndarray, bias: np.ndarray, share: np.ndarray) -> np.ndarray:
        self.asked += len(embedded)
        return np.ones((len(embedded), 16), np.float32)


def opened(folder: Path) -> TransformerEncoder:
    return TransformerEncoder.open(folder, name="tiny", layers=(1, 3))


def test_the_graph_answers_few_live_texts_and_never_what_a_model_is_fitted_on(tmp_path: Path) -> None:
    plain, loud = replace(opened(tiny_bert(tmp_path / "bert")), graph=None), Loud()
    live = replace(plain, graph=loud, remembered=type(plain.remembered)())  # type: ignore[arg-type]
    np.testing.assert_array_equal(live.encode(TEXTS, remember=False), plain.encode(TEXTS, remember=False))
    many = [*TEXTS, "free"]
    np.testing.assert_array_equal(live.encode(many), plain.encode(many))
    assert loud.asked == 0
    np.testing.assert_array_equal(live.encode(["love"]), np.ones((1, 16)))
    live.encode(["love"])
    assert loud.asked == 1


def test_the_graph_does_not_belong_to_the_identity(tmp_path: Path) -> None:
    found = opened(tiny_bert(tmp_path / "bert"))
    assert replace(found, graph=None) == found


@needs_runtime
def test_the_graph_says_what_torch_says(tmp_path: Path) -> None:
    found = opened(tiny_bert(tmp_path / "bert"))
    assert isinstance(found.graph, EncoderGraph)
    # Texts of several lengths at once, so that padding is seen.
    np.testing.assert_allclose(found._encoded_by_graph(TEXTS), found._encoded(TEXTS), atol=1e-5)


@needs_runtime
@pytest.mark.slow
def test_the_graph_says_what_torch_says_of_mpnet(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the reference is not installed")
    sizes = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.MPNetModel(transformers.MPNetConfig(**sizes)).eval().save_pretrained(tmp_path / "mpnet")
    tokenizer_file(tmp_path / "mpnet", first="[CLS]", last="[SEP]")
    found = opened(tmp_path / "mpnet")
    np.testing.assert_allclose(found._encoded_by_graph(TEXTS), found._encoded(TEXTS), atol=1e-5)


@needs_runtime
def test_the_packaged_weights_say_the_same_in_both() -> None:
    if not installed(MINILM):
        pytest.skip("the extra text is not installed")
    found = find_encoder(MINILM.name)
    assert isinstance(found, TransformerEncoder)
    np.testing.assert_allclose(found._encoded_by_graph(TEXTS), found._encoded(TEXTS), atol=1e-5)
