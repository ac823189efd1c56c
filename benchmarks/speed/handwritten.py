"""The way one would write it by hand: a paho callback, a deque per device, the whole sequence for every verdict.

    python handwritten.py PORT MODEL STRIDE [--engine onnx|torch]

``sequence.onnx`` is run with ONNX Runtime, ``network.pt`` with torch in eager mode. Clean and idiomatic, and nothing of
rarefault's runtime is in it; what it lacks is all that the daemon does besides: a time grid, a journal, late samples,
hostile input, delivery that survives a broker.
"""

import argparse
import json
import os
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

CLASSES = ("normal", *(f"fault_{i}" for i in range(1, 7)))
LENGTH, SEQUENCE, PERIOD_MS = 24, 20, 60_000


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("model")
    parser.add_argument("stride", type=int)
    parser.add_argument("--engine", choices=("onnx", "torch"), default="onnx")
    args = parser.parse_args()
    infer = onnx_engine(args.model) if args.engine == "onnx" else torch_engine(args.model)
    stride: int = args.stride
    bins = LENGTH + (SEQUENCE - 1) * stride
    cuts = np.arange(SEQUENCE)[:, None] * stride + np.arange(LENGTH)
    recent: dict[str, deque[list[float]]] = defaultdict(lambda: deque(maxlen=bins))
    seen: dict[str, int] = defaultdict(int)

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe("telemetry/+", qos=1)
        client.publish("rarefault/edge/status", "online", qos=1, retain=True)

    def on_message(client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        device = message.topic.split("/")[1]
        sample = json.loads(message.payload)
        history = recent[device]
        history.append(list(sample["values"].values()))
        number = int(sample["time"]) // PERIOD_MS
        seen[device] += 1
        if len(history) < bins or number % stride:
            return
        windows = np.array(history, np.float32)[cuts][None]
        probabilities = np.exp(infer(windows))
        best = int(probabilities.argmax())
        verdict = {
            "device": device,
            "end": number * PERIOD_MS,
            "fault": CLASSES[best],
            "probability": float(probabilities[best]),
            "probabilities": dict(zip(CLASSES, probabilities.tolist(), strict=True)),
        }
        client.publish(f"rarefault/{device}/verdict", json.dumps(verdict), qos=1)

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="handwritten", clean_session=False)
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect("127.0.0.1", args.port)
    client.loop_forever()


def onnx_engine(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """ONNX Runtime on one thread, as everything here is measured by the processor time it takes."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda windows: session.run(None, {"windows": windows})[0][0, -1]


def torch_engine(path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Torch in eager mode on one thread."""
    import msgspec
    import torch
    from benchmarks.speed.model import CHANNELS, WholeSequence

    from rarefault.train.model.network import LRConvLSTM
    from rarefault.train.model.sizes import ModelSpec

    torch.set_num_threads(1)
    kept = torch.load(path, weights_only=True)
    model = LRConvLSTM(msgspec.convert(kept["spec"], ModelSpec), len(CHANNELS), len(CLASSES), LENGTH, paired=False)
    model.load_state_dict(kept["weights"])
    network = WholeSequence(model).eval()

    def infer(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = network(torch.from_numpy(windows))[0, -1].numpy()
            return found

    return infer


if __name__ == "__main__":
    main()
