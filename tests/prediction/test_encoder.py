"""The encoder computes what the published code computes, reads only what it should, and says what is missing."""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from within_pipelines.exceptions import ArtifactError
from within_pipelines.files import TEMPORARY_PREFIX
from within_pipelines.prediction import encoder as module
from within_pipelines.prediction.encoder import (
    MINILM,
    MPNET,
    PackagedEncoder,
    TransformerEncoder,
    encoder_name,
    find_encoder,
    installed,
)

WORDS = ["free", "coffee", "today", "shoes", "garden", "why", "moms", "love"]
TEXTS = ["Free coffee", "why moms love garden shoes today", "", "coffee coffee coffee"]


def tokenizer_file(folder: Path, *, first: str, last: str) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the extra text is not installed")
    vocabulary = {token: i for i, token in enumerate(["[PAD]", first, "[UNK]", last, *WORDS])}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    found.normalizer = tokenizers.normalizers.Lowercase()
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    found.post_processor = tokenizers.processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=[(first, 1), (last, 3)])
    found.save(str(folder / "tokenizer.json"))


def tiny_bert(folder: Path, *, layers: int = 3, act: str = "gelu", kind: str = "bert") -> Path:
    """A BERT folder with random weights, two heads, width 8."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(3)
    width, inner = 8, 16
    shapes = {"embeddings.word_embeddings.weight": (12, width), "embeddings.position_embeddings.weight": (80, width)}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, width)}
    shapes |= {"embeddings.LayerNorm.weight": (width,), "embeddings.LayerNorm.bias": (width,)}
    for layer in range(layers):
        at = f"encoder.layer.{layer}"
        for name, rows, columns in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes |= {f"{at}.{name}.weight": (rows, columns), f"{at}.{name}.bias": (rows,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}.{name}.weight": (width,), f"{at}.{name}.bias": (width,)}
    save_file({name: torch.randn(*shape) for name, shape in shapes.items()}, folder / "model.safetensors")
    config = {"model_type": kind, "hidden_act": act, "num_hidden_layers": layers, "num_attention_heads": 2, "layer_norm_eps": 1e-12}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer_file(folder, first="[CLS]", last="[SEP]")
    return folder


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "bert")


def opened(folder: Path, **options: object) -> TransformerEncoder:
    return TransformerEncoder.open(folder, name="tiny", **{"precision": "float32", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_everything_is_computed_where_the_weights_are(bert: Path, kind: str) -> None:
    import torch

    encoder = opened(bert)
    tensors = {name: part.to("meta") for name, part in encoder.weights.tensors.items()}
    if kind == "mpnet":
        for part in ("query", "key", "value"):
            tensors = {name.replace(f"attention.self.{part}", f"attention.attn.{part[0]}"): value for name, value in tensors.items()}
        tensors = {name.replace("attention.output.dense", "attention.attn.o"): value for name, value in tensors.items()}
        tensors = {name.replace("attention.output.LayerNorm", "attention.LayerNorm"): value for name, value in tensors.items()}
        tensors["encoder.relative_attention_bias.weight"] = torch.zeros(32, 2, device="meta")
    elsewhere = replace(encoder.weights, tensors=tensors, kind=kind)
    assert elsewhere.device.type == "meta"
    states = elsewhere.hidden_states(*(part.to("meta") for part in encoder.tokens(["free coffee", "why moms love garden"])))
    assert [state.device.type for state in states] == ["meta"] * 3
    assert states[-1].shape == (2, 6, 8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_hidden_states_are_those_of_the_published_code(kind: str, tmp_path: Path) -> None:
    import torch

    transformers = pytest.importorskip("transformers", reason="the reference is not installed")
    sizes = {
        "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 300, "pad_token_id": 0 if kind == "bert" else 1,
    }  # fmt: skip
    torch.manual_seed(5)
    if kind == "bert":
        reference = transformers.BertModel(transformers.BertConfig(**sizes)).eval()
    else:
        reference = transformers.MPNetModel(transformers.MPNetConfig(**sizes)).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(0, 0.5)
    reference.save_pretrained(tmp_path / kind)
    tokenizer_file(tmp_path / kind, first="[CLS]", last="[SEP]")
    found = opened(tmp_path / kind, layers=(0, 2, 3))
    # Long enough for the logarithmic part of the distances, short beside long so that padding is seen.
    ids = torch.randint(2, 12, (2, 200))
    mask = torch.ones(2, 200, dtype=torch.long)
    mask[1, 30:] = 0
    ids[1, 30:] = 1 if kind == "mpnet" else 0
    with torch.inference_mode():
        wanted = reference(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        own = found.weights.hidden_states(ids, mask)
    for ours, theirs in zip(own, wanted, strict=True):
        torch.testing.assert_close(ours[mask.bool()], theirs[mask.bool()], atol=1e-5, rtol=1e-5)


def test_a_text_is_the_mean_of_its_tokens_in_each_layer_side_by_side(bert: Path) -> None:
    import torch

    found = opened(bert, layers=(1, 3))
    ids, mask = found.tokens(["Free coffee"])
    assert ids.tolist() == [[1, 4, 5, 3]]
    states = found.weights.hidden_states(ids, mask)
    by_hand = torch.cat([states[1][0].mean(0), states[3][0].mean(0)]).numpy()
    np.testing.assert_allclose(found.encode(["Free coffee"])[0], by_hand, atol=1e-6)
    assert found.dimension == 16


def test_texts_do_not_depend_on_their_neighbours_and_nothing_is_a_row_of_zeros(bert: Path) -> None:
    together = opened(bert).encode(TEXTS)
    alone = np.vstack([opened(bert).encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert not together[2].any()
    assert opened(bert).encode([]).shape == (0, 16)


def test_encoding_anew_does_not_depend_on_what_was_asked_before(bert: Path) -> None:
    asked, fresh = opened(bert), opened(bert)
    asked.encode(["today"])
    asked.encode(TEXTS[:2])
    np.testing.assert_array_equal(asked.encode(TEXTS, remember=False), fresh.encode(TEXTS, remember=False))
    assert len(fresh.remembered) == 0


def test_only_the_newest_texts_are_remembered(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_TEXTS", 3)
    found = opened(bert)
    found.encode(["free", "coffee", "today"])
    found.encode(["shoes"])
    assert len(found.remembered) == 3
    assert "shoes" in found.remembered


def test_what_is_asked_for_again_stays_however_full_the_memory_was(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same texts twice in a row are the same numbers, bit for bit, whatever was asked for before."""
    monkeypatch.setattr(module, "_KEPT_TEXTS", 3)
    found = opened(bert)
    found.encode(["free", "coffee", "today"])
    first = found.encode(["free", "shoes", "now"])
    assert set(found.remembered) == {"free", "shoes", "now"}
    np.testing.assert_array_equal(found.encode(["now", "free", "shoes"])[[1, 2, 0]], first)


def test_half_and_three_quarters_of_the_depth_are_read_where_nothing_else_is_said(tmp_path: Path) -> None:
    assert opened(tiny_bert(tmp_path / "deep", layers=8)).layers == (4, 6)


def test_layers_above_the_highest_are_not_kept(bert: Path) -> None:
    assert not [name for name in opened(bert, layers=(1,)).weights.tensors if ".layer.1." in name or ".layer.2." in name]


def test_precision_and_layers_belong_to_the_identity(bert: Path) -> None:
    one, two, three = opened(bert), opened(bert, precision="bfloat16"), opened(bert, layers=(1,))
    assert len({one.sha256, two.sha256, three.sha256}) == 3
    assert opened(bert).sha256 == one.sha256
    np.testing.assert_allclose(two.encode(TEXTS), one.encode(TEXTS), atol=0.1)


def test_damaged_missing_or_unknown_weights_are_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has SHA-256 .*, not abc; install the package again"):
        opened(bert, expected={"model.safetensors": "abc"})
    with pytest.raises(ArtifactError, match="holds a gpt2 encoder of 3 layers; this code reads layers 2 of bert and mpnet"):
        opened(tiny_bert(tmp_path / "gpt", kind="gpt2"), layers=(2,))
    with pytest.raises(ArtifactError, match="this code reads layers 2 of bert and mpnet encoders with gelu units"):
        opened(tiny_bert(tmp_path / "relu", act="relu"), layers=(2,))
    with pytest.raises(ArtifactError, match="of 3 layers; this code reads layers 1, 7"):
        opened(bert, layers=(1, 7))
    (bert / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"holds no tokenizer.json; give a folder with a published BERT, MPNet or Qwen2 model"):
        opened(bert)


def test_the_setting_says_which_encoder(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITHIN_ENCODER", str(bert))
    assert encoder_name() == str(bert)
    found = find_encoder()
    assert found is not None
    assert found.name == "bert"
    assert find_encoder() is found
    monkeypatch.setenv("WITHIN_ENCODER", "none")
    assert encoder_name() == "none"
    assert find_encoder() is None


def test_without_the_small_encoder_the_large_one_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WITHIN_ENCODER", raising=False)
    monkeypatch.setattr(module, "installed", lambda packaged: packaged is module.MPNET)
    assert encoder_name() == "all-mpnet-base-v2"
    monkeypatch.setattr(module, "installed", lambda packaged: True)
    assert encoder_name() == "all-MiniLM-L6-v2"


def test_without_a_package_there_is_no_encoder_and_a_named_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WITHIN_ENCODER", raising=False)
    monkeypatch.setattr(module, "_distribution", lambda name: None)
    assert not installed(MINILM)
    assert encoder_name() == "none"
    assert find_encoder() is None
    module._opened.cache_clear()
    with pytest.raises(
        ArtifactError, match=r"all-mpnet-base-v2 is not installed; install it with pip install 'within-pipelines\[text-large\]'"
    ):
        find_encoder(MPNET.name)


def in_parts(folder: Path, content: bytes) -> dict[str, SimpleNamespace]:
    """Two packages that carry `content` in two parts."""
    folder.mkdir()
    half = len(content) // 2
    found = {}
    for number, part in enumerate((content[:half], content[half:]), start=1):
        path = folder / f"whole.zip.00{number}"
        path.write_bytes(part)
        file = SimpleNamespace(name=path.name, suffix=path.suffix, locate=lambda path=path: path)
        found[f"part-{number}"] = SimpleNamespace(files=[SimpleNamespace(name="__init__.py", suffix=".py"), file])
    return found


def test_an_encoder_in_parts_is_put_together_once(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        for file in bert.iterdir():
            archive.write(file, f"tiny/{file.name}")
    parts = in_parts(tmp_path / "parts", (tmp_path / "whole.zip").read_bytes())
    monkeypatch.setattr(module, "_distribution", parts.get)
    packaged = PackagedEncoder("tiny", ("part-1", "part-2"), {}, (1,))
    folder = module._assembled(packaged, tmp_path / "cache")
    assert (folder / "model.safetensors").read_bytes() == (bert / "model.safetensors").read_bytes()
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["tiny"]
    monkeypatch.setattr(module, "_distribution", lambda name: None)
    assert module._assembled(packaged, tmp_path / "cache") == folder


def test_parts_that_make_no_archive_are_refused_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_distribution", in_parts(tmp_path / "parts", b"this is no archive").get)
    with pytest.raises(ArtifactError, match="The packages of tiny hold no complete archive"):
        module._assembled(PackagedEncoder("tiny", ("part-1", "part-2"), {}, (1,)), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(f"{TEMPORARY_PREFIX}*"))


def test_a_package_without_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_distribution", lambda name: SimpleNamespace(files=[]))
    with pytest.raises(ArtifactError, match=r"holds no model.safetensors; install it again"):
        module._package_folder(MINILM)


def test_an_absent_package_is_no_distribution() -> None:
    assert module._distribution("surely-not-a-package") is None
    assert isinstance(module._distribution("numpy"), importlib.metadata.Distribution)


@pytest.mark.slow
def test_the_packaged_weights_know_what_is_alike() -> None:
    if not installed(MINILM):
        pytest.skip("the extra text is not installed")
    found = find_encoder(MINILM.name)
    assert found is not None
    a, b, c = found.encode(["Cheap running shoes", "Inexpensive trainers for joggers", "The parliament adjourned on Tuesday"])
    alike = lambda u, v: float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    assert alike(a, b) > alike(a, c)
    assert find_encoder(MINILM.name) is found
