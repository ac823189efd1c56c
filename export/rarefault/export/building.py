"""Collecting the nodes and constants of an ONNX graph."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

#: Operator sets of 2022, the standard one and that of the trees; every ONNX Runtime that the daemon accepts has them.
OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 9


class GraphBuilder:
    """Collects nodes and constants; a node is named after its first output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """A constant; returns its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node with one output; returns its name."""
        self.add_many(operator, inputs, [output], **attributes)
        return output

    def add_many(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """A node; ``domain`` among the attributes names the operator's set where it is not the standard one."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=outputs[0], **attributes))

    def rows(self, name: str, row: NDArray[np.float32]) -> str:
        """The same row for each device that is due, [N, X]; returns its name.

        Args:
            name: of the result.
            row: [X].
        """
        devices = self.add("Shape", ["window"], f"{name}_devices", start=0, end=1)
        shape = self.add(
            "Concat", [devices, self.constant(f"{name}_width", np.array(row.shape))], f"{name}_shape", axis=0
        )
        return self.add("Expand", [self.constant(f"{name}_row", row), shape], name)

    def _prune(self, outputs: Iterable[str]) -> None:
        """Drop nodes and constants that no output needs."""
        needed, kept = set(outputs), []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                needed |= set(node.input)
                kept.append(node)
        self._nodes = kept[::-1]
        self._constants = [constant for constant in self._constants if constant.name in needed]

    def finish(self, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
        """The checked model; what no output needs is left out. Shapes are of one device, N is put before them."""

        def describe(tensors: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in tensors.items()
            ]

        self._prune(outputs)
        graph = helper.make_graph(self._nodes, "step", describe(inputs), describe(outputs), self._constants)
        domains = sorted({node.domain for node in self._nodes})
        opsets = [helper.make_opsetid(domain, OPSETS[domain]) for domain in domains]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
