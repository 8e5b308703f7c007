"""The layers of a sentence encoder as an ONNX graph: on the few short texts of a live answer ONNX Runtime is faster than torch.

The graph is built in memory from the checked weights, so there is no second file to keep, to hash or to trust. It begins after the
embedding, which is a look-up, and takes the attention's bias as an input: so it is the same for BERT and MPNet."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from within_pipelines.prediction.encoder import TransformerWeights

Floats32 = NDArray[np.float32]
_OPSET = 17
# The oldest file format that holds this opset; newer ones would need a newer runtime for nothing.
_FILE_FORMAT = 8


def runtime_installed() -> bool:
    """Whether the libraries of the extra `onnx` are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


@dataclass(frozen=True, slots=True)
class EncoderGraph:
    """The layers of an encoder, ready to run."""

    session: Any = field(repr=False)

    @classmethod
    def of(cls, weights: TransformerWeights, layers: Sequence[int], *, threads: int) -> EncoderGraph:
        """Build the graph that pools `layers`, for `threads` threads. Takes a tenth of a second and the memory of the layers once more."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Threads that wait for the next text would take the processor from everybody else.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return cls(onnxruntime.InferenceSession(graph_bytes(weights, layers), options, providers=["CPUExecutionProvider"]))

    def pooled(self, embedded: Floats32, bias: Floats32, share: Floats32) -> Floats32:
        """Pooled layers side by side (texts x width of all layers).

        `embedded` is texts x tokens x width after the embedding, `bias` what is added to the attention's logits (texts x heads or 1 x
        tokens or 1 x tokens), `share` each token's part in the mean (texts x 1 x tokens; rows add up to 1)."""
        result: Floats32 = self.session.run(["pooled"], {"embedded": embedded, "bias": bias, "share": share})[0]
        return result


def graph_bytes(weights: TransformerWeights, layers: Sequence[int]) -> bytes:
    """The serialized ONNX model of `weights` whose output is the mean-pooled `layers` side by side."""
    from onnx import TensorProto, helper, numpy_helper

    names, width = weights.names, weights.width
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {
        "root_two": np.array(np.sqrt(2), np.float32),
        "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32),
        "scale": np.array((width / weights.heads) ** -0.5, np.float32),
        "apart": np.array([0, 0, weights.heads, -1]),
        "together": np.array([0, 0, width]),
        "flat": np.array([0, width]),
    }

    def node(kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(name: str, *, transposed: bool = False) -> str:
        tensor = weights.tensors[name].numpy()
        constants.setdefault(name, np.ascontiguousarray(tensor.T) if transposed else tensor)
        return name

    def linear(x: str, name: str) -> str:
        product = node("MatMul", [x, constant(f"{name}.weight", transposed=True)])
        return node("Add", [product, constant(f"{name}.bias")])

    def normed(x: str, name: str) -> str:
        return node("LayerNormalization", [x, constant(f"{name}.weight"), constant(f"{name}.bias")], axis=-1, epsilon=weights.epsilon)

    def pooled(x: str) -> str:
        return node("Reshape", [node("MatMul", ["share", x]), "flat"])

    x = "embedded"
    states = [x]
    for layer in range(weights.layers):
        at = f"encoder.layer.{layer}"
        q, k, v = (node("Reshape", [linear(x, f"{at}.{part}"), "apart"]) for part in names.query_key_value)
        query, value = (node("Transpose", [part], perm=[0, 2, 1, 3]) for part in (q, v))
        logits = node("MatMul", [node("Mul", [query, "scale"]), node("Transpose", [k], perm=[0, 2, 3, 1])])
        chances = node("Softmax", [node("Add", [logits, "bias"])], axis=-1)
        mixed = node("Transpose", [node("MatMul", [chances, value])], perm=[0, 2, 1, 3])
        attended = linear(node("Reshape", [mixed, "together"]), f"{at}.{names.mixed}")
        x = normed(node("Add", [x, attended]), f"{at}.{names.mixed_norm}")
        inner = linear(x, f"{at}.intermediate.dense")
        # gelu, in the form that the runtime knows as one step
        share_below = node("Add", [node("Erf", [node("Div", [inner, "root_two"])]), "one"])
        active = node("Mul", [node("Mul", [inner, share_below]), "half"])
        x = normed(node("Add", [x, linear(active, f"{at}.output.dense")]), f"{at}.output.LayerNorm")
        states.append(x)
    nodes.append(helper.make_node("Concat", [pooled(states[layer]) for layer in layers], ["pooled"], axis=1))

    def described(name: str, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            described("embedded", "texts", "tokens", width),
            described("bias", "texts_or_1", "heads_or_1", "tokens_or_1", "tokens"),
            described("share", "texts", 1, "tokens"),
        ],
        [described("pooled", "texts", width * len(layers))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_FILE_FORMAT)
    serialized: bytes = model.SerializeToString()
    return serialized
