"""The streaming step as an ONNX graph, built layer by layer from the checkpoint's weights.

The graph is written out rather than traced: a trace leaves slices and concatenations of the LSTM weights in the graph,
which the quantiser cannot reach and which make a verdict slower (decision 0019).
What a trace would guarantee, that the graph computes what the module computes, is proved instead on the finished file
(:mod:`rarefault.export.parity`), so that a change of the network that is not followed here stops the export.

Shapes: N devices due, L bins, I columns, E experts, V values of an opinion, S carried state.
"""

import numpy as np
import onnx
from onnx import helper

from rarefault.export.building import GraphBuilder
from rarefault.export.network_graph import network_opinion
from rarefault.export.statistics_graph import WindowStatistics
from rarefault.export.tree_graph import tree_opinion
from rarefault.runtime import __version__
from rarefault.runtime.inference.manifest import METADATA_KEY, Manifest
from rarefault.train.model.experts import Experts
from rarefault.train.model.network_expert import NetworkExpert
from rarefault.train.model.trees import TreeExpert


def step_graph(model: Experts, manifest: Manifest) -> onnx.ModelProto:
    """The step of a model: ``window`` [N, L, I] and ``state`` [N, S] to ``opinions`` [N, E, V] and ``next_state``.

    N is free. Raw units go in, NaN where a value is missing; the same file carries no manifest yet.

    Args:
        model: the experts.
        manifest: gives the sizes.
    """
    graph, length = GraphBuilder(), manifest.window.length
    after, measured = "", WindowStatistics(graph, length)

    def of_network(network: NetworkExpert) -> str:
        nonlocal after
        opinion, after = network_opinion(graph, network, measured)
        return opinion

    def of_trees(trees: TreeExpert) -> str:
        opinion = tree_opinion(graph, trees, length, measured)
        if model.network is None:
            return opinion
        # Trees measure no distance.
        return graph.add("Pad", [opinion, graph.constant("trees_pads", np.array([0, 0, 0, 1]))], f"{opinion}_and_none")

    opinions = model.each(of_network, of_trees)
    axis = graph.constant("expert_axis", np.array([1]))
    each = [graph.add("Unsqueeze", [opinion, axis], f"{opinion}_row") for opinion in opinions]
    graph.add("Concat", each, "opinions", axis=1)
    graph.add("Identity", [after or "state"], "next_state")
    decision, state = manifest.decision, (manifest.state_size,)
    return graph.finish(
        inputs={"window": (length, len(manifest.inputs)), "state": state},
        outputs={"opinions": (len(decision.experts), decision.opinion_size), "next_state": state},
    )


def with_manifest(model: onnx.ModelProto, manifest: Manifest) -> bytes:
    """The bytes of the model file: the graph, and the manifest in its metadata."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    del described.metadata_props[:]
    helper.set_model_props(described, {METADATA_KEY: manifest.to_json()})
    described.producer_name = "rarefault"
    described.producer_version = __version__
    described.doc_string = (
        f"Streaming step of {manifest.name}: {len(manifest.channels)} channels, {len(manifest.classes)} classes. "
        f"The metadata entry '{METADATA_KEY}' holds the manifest."
    )
    data: bytes = described.SerializeToString(deterministic=True)
    return data
