"""The parts of a model, each of which can be left out."""

from typing import Literal, get_args

ModelPart = Literal["network_device", "network_units", "trees_device", "extra_trees", "trees_units", "filter"]
#: All parts, in the order in which they are named.
MODEL_PARTS: tuple[ModelPart, ...] = get_args(ModelPart)
#: Names of the networks, in the order in which they are made.
NetworkName = Literal["device", "at_units"]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)
#: The network that each part of a network is.
NETWORK_OF: dict[ModelPart, NetworkName] = {"network_device": "device", "network_units": "at_units"}
#: The parts of the network, in the order of its distances.
NETWORK_PARTS: tuple[ModelPart, ...] = tuple(NETWORK_OF)
#: The parts that judge whole devices, and those that look for faults at units: of a network, then of trees.
AT_DEVICE: tuple[ModelPart, ModelPart] = ("network_device", "trees_device")
AT_UNITS: tuple[ModelPart, ModelPart] = ("network_units", "trees_units")
#: What a part is called for people.
PART_NAMES: dict[ModelPart, str] = {
    "network_device": "network of whole devices",
    "network_units": "network of units",
    "trees_device": "trees of whole devices",
    "extra_trees": "extremely randomised trees",
    "trees_units": "trees of units",
    "filter": "filter over windows",
}


def expert_of(part: ModelPart) -> Literal["network", "trees"]:
    """The expert that a part belongs to; the filter belongs to none."""
    return "network" if part in NETWORK_OF else "trees"
