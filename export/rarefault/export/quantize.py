"""Dynamic int8: the LSTM weights as 8-bit integers, activations scaled on the fly.

Weights are quantised per output channel to 7 bits (``reduce_range``): on x86 processors without VNNI the product of
unsigned activations and full-range signed weights saturates, so that the same file would give other verdicts on other
gateways. Activations are scaled over the whole batch, so an int8 verdict depends a little on who shares its batch; how
much is measured and written into the manifest.

Why: decision 0018.
"""

import tempfile
from collections import Counter
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from rarefault.runtime.errors import RarefaultError

#: Its name in the manifest.
METHOD = "dynamic, LSTM weights per output channel in 7 bits"


def quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every LSTM's weights in int8; convolutions and the last layer, which cost little, stay float32.

    Raises:
        RarefaultError: a layer was not reached, which leaves the file large and slow.
    """
    source = onnx.ModelProto()
    source.CopyFrom(model)
    # The graph is built folded and with known shapes; without this mark the quantiser asks for a pass that would add
    # nothing.
    add_pre_process_metadata(source)
    with tempfile.TemporaryDirectory(prefix="rarefault-int8-") as folder:
        path = Path(folder, "int8.onnx")
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=["LSTM"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        quantised = onnx.load(path)
    expected = count_operators(model)["LSTM"]
    reached = count_operators(quantised)["DynamicQuantizeLSTM"]
    if reached != expected:
        raise RarefaultError(
            f"int8 reached {reached} of {expected} LSTM layers: their weights are not constants of the graph; "
            "export without --int8 and report the fault"
        )
    del quantised.graph.value_info[:]
    return quantised


def count_operators(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs in the graph."""
    return Counter(node.op_type for node in model.graph.node)
