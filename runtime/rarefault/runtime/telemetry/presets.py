"""Presets: the keys of ``[telemetry]`` for kinds of senders, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rarefault.runtime.proposal.finding import toml_value


@dataclass(frozen=True, slots=True)
class Preset:
    """What a kind of sender needs.

    Attributes:
        about: what sends it, and what is to be known.
        keys: of ``[telemetry]``.
    """

    about: str
    keys: Mapping[str, Any]


#: By name.
PRESETS: Mapping[str, Preset] = {
    "zigbee2mqtt": Preset(
        "Zigbee2MQTT, with advanced.last_seen set to ISO_8601 or epoch; '/' in a friendly name becomes '.'",
        {
            "topic": "zigbee2mqtt/{device...}",
            "ignore_topics": [
                "zigbee2mqtt/bridge/#",
                "zigbee2mqtt/+/availability",
                "zigbee2mqtt/+/+/availability",
                "zigbee2mqtt/+/set",
                "zigbee2mqtt/+/get",
                "zigbee2mqtt/+/+/set",
                "zigbee2mqtt/+/+/get",
            ],
            "values": "",
            "time": "last_seen",
        },
    ),
    "tasmota": Preset(
        "Tasmota's SENSOR messages; their times are local, so time_zone must be given",
        {"topic": "tele/{device}/SENSOR", "values": "", "time": "Time"},
    ),
    "shelly": Preset(
        "Shelly from the second generation on, NotifyStatus messages; channels are like em:0.total_act_power",
        {
            "topic": "{device}/events/rpc",
            "values": "params",
            "time": "params.ts",
            "ignore": {"method": ["NotifyEvent"]},
        },
    ),
    "chirpstack": Preset(
        "ChirpStack v4, the event 'up', with a decoder in the device profile",
        {
            "topic": "application/+/device/+/event/up",
            "device": "deviceInfo.deviceName",
            "values": "object",
            "time": "time",
        },
    ),
    "ttn": Preset(
        "The Things Stack v3, uplinks, with a payload formatter",
        {
            "topic": "v3/+/devices/{device}/up",
            "values": "uplink_message.decoded_payload",
            "time": ["uplink_message.received_at", "received_at"],
        },
    ),
    "telegraf": Preset(
        'Telegraf\'s outputs.mqtt with data_format = "json", single metrics and batches; device is the tag host',
        {
            "topic": "telegraf/#",
            "device": "tags.host",
            "several_topics": True,
            "records": ["metrics", ""],
            "values": "fields",
            "time": "timestamp",
        },
    ),
    "thingsboard": Preset(
        "ThingsBoard's gateway API: devices are the keys",
        {"topic": "v1/gateway/telemetry", "records": "*", "values": "values", "time": "ts"},
    ),
    "opcua-pubsub": Preset(
        "OPC UA PubSub with JSON messages; the device is the writer of the data set",
        {
            "topic": "opcua/json/data/#",
            "device": "{PublisherId}-{DataSetWriterId}",
            "several_topics": True,
            "records": ["Messages", ""],
            "values": "Payload",
            "value": "Value",
            "time": ["SourceTimestamp", "Timestamp"],
            "ignore": {"MessageType": ["ua-metadata", "ua-keepalive", "ua-status", "ua-connection", "ua-application"]},
        },
    ),
    "neuron": Preset(
        'EMQX Neuron, the tags format; for the values format set records and value to "", name to "", values to '
        '"values"',
        {
            "topic": "neuron/{device}/#",
            "records": "tags",
            "name": "name",
            "value": "value",
            "time": "timestamp",
        },
    ),
    "ignition": Preset(
        "lists of name, value, timestamp and quality, as gateways for Ignition send them in JSON",
        {
            "topic": "ignition/{device}/#",
            "records": "metrics",
            "name": "name",
            "value": "value",
            "time": "timestamp",
        },
    ),
    "kepware": Preset(
        "Kepware's IoT Gateway: id, v, q and t of each value; one device a topic",
        {
            "topic": "iotgateway/{device}",
            "records": "values",
            "name": "id",
            "value": "v",
            "quality": "q",
            "good": [True],
            "time": ["t", "timestamp"],
        },
    ),
    "siemens": Preset(
        "Siemens Industrial Edge, payloads of the databus; id is the number of the tag, qc 3 is good",
        {
            "topic": "ie/d/j/simatic/v1/{device}/dp/#",
            "records": "vals",
            "name": "id",
            "value": "val",
            "quality": "qc",
            "good": [3],
            "time": "ts",
        },
    ),
    "senml": Preset(
        "SenML (RFC 8428) in JSON; the device is the last part of the base name",
        {"topic": "senml/#", "format": "senml", "several_topics": True},
    ),
    "influx": Preset(
        "the line protocol of InfluxDB; the device is the tag device",
        {"topic": "influx/#", "format": "influx", "several_topics": True},
    ),
}


def as_toml(name: str) -> str:
    """A preset as a section of a configuration, expanded."""
    preset = PRESETS[name]
    lines = [f"# {name}: {preset.about}", "[telemetry]"]
    lines += [f"{key} = {toml_value(value)}" for key, value in preset.keys.items()]
    return "\n".join(lines) + "\n"
