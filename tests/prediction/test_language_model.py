"""The language model computes what the published code computes, leaves its lead out, and says what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from within_pipelines.exceptions import ArtifactError
from within_pipelines.prediction import AdScorePredictor
from within_pipelines.prediction.encoder import SideBySide, _opened, find_encoder
from within_pipelines.prediction.language_model import LanguageModelEncoder

tokenizers = pytest.importorskip("tokenizers", reason="the extra text is not installed")

WORDS = ["Headline", ":", "free", "coffee", "today", "shoes", "garden", "why", "moms", "love"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6}
TEXTS = ["Free coffee", "why moms love garden shoes today", "", "coffee coffee coffee"]


def tiny_qwen(folder: Path, *, seed: int = 3, config: dict[str, object] | None = None) -> Path:
    """A Qwen2 folder with random weights as its authors publish them: 4 layers, 4 heads on 2 keys, width 16."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    width, keys, inner = 16, 8, 24
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (11, width), "norm.weight": (width,)}
    for layer in range(4):
        at = f"layers.{layer}"
        for name, rows in (("q", width), ("k", keys), ("v", keys)):
            shapes |= {f"{at}.self_attn.{name}_proj.weight": (rows, width), f"{at}.self_attn.{name}_proj.bias": (rows,)}
        shapes |= {f"{at}.self_attn.o_proj.weight": (width, width), f"{at}.mlp.down_proj.weight": (width, inner)}
        shapes |= {f"{at}.mlp.{name}_proj.weight": (inner, width) for name in ("gate", "up")}
        shapes |= {f"{at}.{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
    save_file({f"model.{name}": torch.randn(*shape) for name, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps(
            {"model_type": "qwen2", "hidden_act": "silu", "rope_theta": 10_000.0, "use_sliding_window": False, **SIZES, **(config or {})}
        )
    )
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate([*WORDS, "[UNK]"])}, unk_token="[UNK]"))
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    found.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    return tiny_qwen(tmp_path / "qwen")


def opened(folder: Path, **options: object) -> LanguageModelEncoder:
    return LanguageModelEncoder.open(folder, name="tiny", **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_hidden_states_are_those_of_the_published_code(qwen: Path) -> None:
    import torch

    transformers = pytest.importorskip("transformers", reason="the reference is not installed")
    settings = transformers.Qwen2Config(
        vocab_size=11, intermediate_size=24, max_position_embeddings=300, rope_theta=10_000.0, use_sliding_window=False, **SIZES
    )
    reference = transformers.Qwen2Model.from_pretrained(qwen, config=settings).eval()
    ids = torch.randint(0, 11, (2, 200))
    mask = torch.ones(2, 200, dtype=torch.long)
    mask[1, 30:] = 0
    with torch.inference_mode():
        wanted = reference(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        own = opened(qwen, layers=(0, 3)).weights.hidden_states(ids)
    assert len(own) == 4
    for ours, theirs in zip(own, wanted[:4], strict=True):
        torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-4, rtol=1e-4)


def test_a_text_is_the_mean_of_its_own_tokens_without_the_lead(qwen: Path) -> None:
    import torch

    found = opened(qwen, layers=(1, 3))
    assert found.lead == (0, 1)
    states = found.weights.hidden_states(torch.tensor([[0, 1, 2, 3]]))
    by_hand = torch.cat([states[1][0, 2:].mean(0), states[3][0, 2:].mean(0)]).numpy()
    np.testing.assert_allclose(found.encode(["free coffee"])[0], by_hand, rtol=1e-5, atol=1e-5)
    assert found.dimension == 32
    assert opened(qwen).layers == (2,)


def test_texts_do_not_depend_on_their_neighbours_and_nothing_is_a_row_of_zeros(qwen: Path) -> None:
    together = opened(qwen).encode(TEXTS)
    alone = np.vstack([opened(qwen).encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert not together[2].any()
    assert np.isfinite(together).all()


def test_of_a_long_text_the_first_words_count(qwen: Path) -> None:
    found = opened(qwen)
    long = found.encode([" ".join(["coffee"] * 64 + ["shoes"] * 50), " ".join(["coffee"] * 64)], remember=False)
    np.testing.assert_array_equal(long[0], long[1])


def test_what_is_read_again_is_remembered(qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(qwen)
    first = found.encode(TEXTS)
    monkeypatch.setattr(LanguageModelEncoder, "_encoded", lambda self, texts: pytest.fail("computed again"))
    np.testing.assert_array_equal(found.encode(TEXTS), first)


def test_layers_above_the_highest_are_not_loaded(qwen: Path) -> None:
    kept = opened(qwen, layers=(1, 2)).weights.tensors
    assert {name.split(".")[1] for name in kept if name.startswith("layers.")} == {"0", "1"}
    assert "norm.weight" not in kept


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama"},
        {"hidden_act": "gelu"},
        {"use_sliding_window": True},
        {"rope_scaling": {"type": "yarn"}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10_000.0}},
        {"num_hidden_layers": 2},
    ],
)
def test_what_this_code_does_not_compute_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match=r"this code reads layers 1, 3 of qwen2 models with silu units"):
        opened(tiny_qwen(tmp_path / "other", config=config), layers=(1, 3))


def test_a_folder_without_a_vocabulary_is_refused(qwen: Path) -> None:
    (qwen / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"holds no tokenizer.json; give a folder with a published BERT, MPNet or Qwen2 model"):
        opened(qwen)


def test_settings_that_are_none_and_weights_that_lack_are_refused(qwen: Path) -> None:
    from safetensors.torch import load_file, save_file

    whole = load_file(qwen / "model.safetensors")
    save_file({name: part for name, part in whole.items() if "layers.1.mlp.up" not in name}, qwen / "model.safetensors")
    assert opened(qwen, layers=(1,)).layers == (1,)
    with pytest.raises(ArtifactError, match=r"lacks layers\.1\.mlp\.up_proj\.weight; give a whole Qwen2 model"):
        opened(qwen)
    for text, told in (('{"model_type": ', "is no JSON"), ("[]", "holds no settings")):
        (qwen / "config.json").write_text(text)
        with pytest.raises(ArtifactError, match=told):
            find_encoder(str(qwen), cache=qwen)


def test_a_change_of_weights_layers_or_vocabulary_is_another_identity(tmp_path: Path) -> None:
    one, other = tiny_qwen(tmp_path / "a"), tiny_qwen(tmp_path / "b")
    assert opened(one).sha256 == opened(other).sha256 != opened(one, layers=(1,)).sha256
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text().replace("coffee", "tea"))
    assert opened(one).sha256 != opened(other).sha256


def test_encoders_are_found_by_folder_and_side_by_side(qwen: Path, tmp_path: Path) -> None:
    _opened.cache_clear()
    alone = find_encoder(str(qwen), cache=tmp_path)
    assert isinstance(alone, LanguageModelEncoder)
    other = tiny_qwen(tmp_path / "second", seed=4)
    both = find_encoder(f"{qwen}+{other}", cache=tmp_path)
    assert isinstance(both, SideBySide)
    assert both.name == "qwen+second"
    assert both.dimension == 2 * alone.dimension
    np.testing.assert_array_equal(both.encode(TEXTS)[:, : alone.dimension], alone.encode(TEXTS))
    swapped = SideBySide(both.parts[::-1])
    assert len({alone.sha256, both.sha256, swapped.sha256}) == 3
    plus = tiny_qwen(tmp_path / "a+b")
    assert isinstance(find_encoder(str(plus), cache=tmp_path), LanguageModelEncoder)
    _opened.cache_clear()


def test_an_ad_score_is_fitted_on_them_and_knows_them_again(qwen: Path, tmp_path: Path, ads: pl.DataFrame, new_ads: pl.DataFrame) -> None:
    encoder = SideBySide((opened(qwen, layers=(1,)), opened(qwen, layers=(2,))))
    predictor = AdScorePredictor(encoder=encoder).fit(ads)
    assert predictor.details["encoder"] == "tiny+tiny"
    predictor.save(tmp_path / "model")
    loaded = AdScorePredictor.load(tmp_path / "model", encoder=encoder)
    assert [score.score for score in loaded.predict(new_ads)] == [score.score for score in predictor.predict(new_ads)]
    with pytest.raises(ArtifactError, match="was fitted on the encoder tiny"):
        AdScorePredictor.load(tmp_path / "model", encoder=SideBySide(encoder.parts[::-1]))


def test_packaged_encoders_side_by_side_are_found_again_by_the_name_in_an_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    from within_pipelines.prediction.ad_score import predictor

    monkeypatch.setattr(predictor, "find_encoder", lambda name=None: name)
    for name in ("all-MiniLM-L6-v2", "all-mpnet-base-v2+all-MiniLM-L6-v2"):
        assert predictor._encoder_of({"name": name}, "folder") == name
    # A folder's name is no path: the setting says where it is.
    assert predictor._encoder_of({"name": "all-mpnet-base-v2+qwen2.5-1.5b"}, "folder") is None
