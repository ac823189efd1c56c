"""What the configured mapping would have to say for messages that it does not read."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rarefault.runtime.daemon.mqtt.inbox import Message
from rarefault.runtime.daemon.setup import Setup
from rarefault.runtime.proposal.finding import toml_value
from rarefault.runtime.proposal.messages.recognition import Source, recognise
from rarefault.runtime.proposal.messages.trial import Heard, try_mapping
from rarefault.runtime.telemetry.config import MappingConfig
from rarefault.runtime.telemetry.sparkplug import NAMESPACE
from rarefault.runtime.telemetry.topics import Template

#: Messages that are tried.
MOST_TRIED = 200
#: Keys that are as well as they are where they fit: topics that the daemon listens to, and what follows from them.
PLACE = ("topic", "several_topics", "device")


def shape_hint(setup: Setup, messages: Sequence[Message]) -> str:
    """The keys that would read most of some messages; empty where the configured ones do, or nobody knows better.

    Args:
        setup: the configuration and the model.
        messages: some that came.
    """
    heard = [Heard(m.topic, bytes(m.payload), m.arrived_ms, m.retained) for m in list(messages)[:MOST_TRIED]]
    if heard and all(message.topic.startswith(f"{NAMESPACE}/") for message in heard):
        if any(source.format == "sparkplug" for source in setup.config.sources):
            return ""  # what a birth is needed for is said elsewhere
        return "the topics are those of Sparkplug B: 'rarefault presets sparkplug' prints the keys for it"
    for source in setup.config.sources:
        own = [message for message in heard if source.template.matches(message.topic)]
        keys = {name: getattr(source, name) for name in _MAPPING if name not in {"fields", "preset"}}
        trial = try_mapping(keys, own)
        if not own or (trial is not None and 2 * trial.used >= trial.messages):
            continue
        found = recognise(own, setup.config.publish.prefix).sources
        best = max(found, key=lambda one: one.trial.used, default=None)
        if best is not None and (differing := _differing(best, keys)):
            settings = ", ".join(f"telemetry.{key} = {toml_value(value)}" for key, value in differing.items())
            preset = best.trial.mapping.preset
            hint = f" ('rarefault presets {preset}' prints its keys)" if preset else ""
            return f"{best.trial.used} of {len(own)} messages would be read with {settings}{hint}"
    return ""


_MAPPING = tuple(field.name for field in msgspec.structs.fields(MappingConfig))


def _differing(source: Source, configured: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a source that are not configured so."""
    given = {finding.key: finding.value for finding in source.findings}
    found = {key: value for key, value in given.items() if configured.get(key) != value}
    template = Template(configured["topic"])
    if "topic" in found and all(map(template.matches, source.topics)) and not source.trial.mapping.template.has_channel:
        for key in PLACE:
            if key != "device" or template.has_device:
                found.pop(key, None)
    return found
