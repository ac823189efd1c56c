"""paho with an empty callback: what receiving costs when nothing is done with it.

python empty.py PORT
"""

import sys
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


def main() -> None:
    """Receive until killed."""

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe("telemetry/+", qos=1)
        client.publish("rarefault/edge/status", "online", qos=1, retain=True)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="empty", clean_session=False)
    client.on_connect = on_connect
    client.on_message = lambda *_: None
    client.connect("127.0.0.1", int(sys.argv[1]))
    client.loop_forever()


if __name__ == "__main__":
    main()
