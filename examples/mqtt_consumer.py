"""Listen to the daemon's verdicts and alarms: ``python mqtt_consumer.py localhost 1883 [prefix]``.

MQTT delivers at least once, so a message may come twice, and the broker repeats the last alarm of each device to every
new subscriber. Each payload has an ``id`` that is the same at every delivery: what was seen already is dropped.
"""

import json
import sys
from collections import OrderedDict

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

#: Ids that are remembered; repeats come soon after the first delivery.
REMEMBERED = 10_000


class Consumer:
    """Prints each verdict of a fault and each alarm once."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.on_connect = self.subscribe
        self.client.on_message = self.receive

    def subscribe(self, client: mqtt.Client, *_: object) -> None:
        """Subscribe after each connection, so that a restart of the broker costs nothing."""
        client.subscribe([(f"{self.prefix}/+/verdict", 1), (f"{self.prefix}/+/alarm", 1)])

    def receive(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        """Print one message, unless it was seen before."""
        if not message.payload:
            return  # the daemon has forgotten the device, and its retained alarm with it
        kind, found = message.topic.rsplit("/", 1)[1], json.loads(message.payload)
        if (kind, found["id"]) in self.seen:
            return
        self.seen[kind, found["id"]] = None
        if len(self.seen) > REMEMBERED:
            self.seen.popitem(last=False)
        if kind == "alarm":
            print(f"ALARM {found['device']}: {found['state']} since {found['since']}", flush=True)
        elif found["fault"] != "normal":
            print(f"{found['end']} {found['device']}: {found['fault']} ({found['probability']:.2f})", flush=True)


def main(host: str, port: str, prefix: str = "rarefault") -> None:
    consumer = Consumer(prefix)
    consumer.client.connect(host, int(port))
    consumer.client.loop_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
