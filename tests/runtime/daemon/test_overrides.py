"""The daemon's own ``[decision]`` in place of the model's: seen in what it publishes, refused where it cannot be."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.harness.daemon import Daemon

from rarefault.runtime.daemon.config import DecisionConfig
from rarefault.runtime.daemon.overrides import override
from rarefault.runtime.errors import ConfigError
from rarefault.runtime.inference.manifest import Manifest

if TYPE_CHECKING:
    from tests.harness.broker import Mosquitto
    from tests.harness.client import Peer
    from tests.harness.recording import Recording


def test_nothing_given_changes_nothing(tiny_manifest: Manifest) -> None:
    """Without a section the manifest is the model's."""
    assert override(tiny_manifest, DecisionConfig(), "edge.toml") == (tiny_manifest, ())


def test_what_is_given_is_in_place(tiny_manifest: Manifest) -> None:
    """Each key replaces its own; another coverage takes the model's levels for it; zero is a value."""
    wanted = DecisionConfig(coverage=0.95, clear_threshold=0.0, on_delay_s=60.0, unknown_windows=0, mute=("fault_2",))
    manifest, keys = override(tiny_manifest, wanted, "edge.toml")
    own, new = tiny_manifest.decision, manifest.decision
    assert keys == ("coverage", "clear_threshold", "on_delay_s", "unknown_windows", "mute")
    assert (new.coverage, new.conformal_thresholds) == (0.95, own.thresholds_by_coverage["95"])
    assert (new.clear_threshold, new.on_delay_s, new.unknown_windows, new.muted) == (0.0, 60.0, 0, (2,))
    assert (new.raise_threshold, new.thresholds) == (own.raise_threshold, own.thresholds)
    none, _ = override(tiny_manifest, DecisionConfig(coverage=0.0, unknown_windows=0), "edge.toml")
    assert (none.decision.coverage, none.decision.conformal_thresholds) == (0.0, ())


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        (DecisionConfig(mute=("fault_3",)), "decision.mute: 'fault_3' is no fault of the model; did you mean 'fault_"),
        (DecisionConfig(mute=("normal",)), "decision.mute: 'normal' is no fault of the model; it knows fault_1, fault"),
        (
            DecisionConfig(coverage=0.97),
            "decision.coverage: the model has no thresholds for 0.97; it has some for: 0.9, ",
        ),
        (DecisionConfig(clear_threshold=0.6), r"clear_threshold 0.6 must not exceed raise_threshold 0.5 \(the model's"),
    ],
)
def test_what_cannot_be_is_refused(tiny_manifest: Manifest, wanted: DecisionConfig, sentence: str) -> None:
    """The key, what is wrong with it, and what there is."""
    with pytest.raises(ConfigError, match=sentence):
        override(tiny_manifest, wanted, "edge.toml")


def test_unknown_windows_need_what_tells_them(tiny_manifest: Manifest) -> None:
    """A coverage, or a distance beyond which a window fits no class; without both the key is refused."""
    wanted = DecisionConfig(coverage=0.0, unknown_windows=3)
    found, _ = override(tiny_manifest, wanted, "edge.toml")
    assert found.decision.unknown_windows == 3
    kept, _ = override(tiny_manifest, DecisionConfig(coverage=0.0), "edge.toml")
    assert kept.decision.unknown_windows == tiny_manifest.decision.unknown_windows > 0
    own = msgspec.structs.replace(tiny_manifest.decision, distance=None)
    without = msgspec.structs.replace(tiny_manifest, decision=own)
    with pytest.raises(ConfigError, match=r"decision\.unknown_windows: needs a coverage, or a model whose network"):
        override(without, wanted, "edge.toml")
    assert override(without, DecisionConfig(coverage=0.0), "edge.toml")[0].decision.unknown_windows == 0


def test_the_daemon_goes_by_it_and_says_so(
    mosquitto: "Mosquitto",
    peer: "Peer",
    recording: "Recording",
    tiny_model: Path,
    tmp_path: Path,
    wait_until: Callable[[Callable[[], object], str], None],
) -> None:
    """A muted fault raises no alarm, its verdicts stay what they are; a reload takes the section back at once."""
    config = tmp_path / "edge.toml"
    text = (
        f'[model]\npath = "{tiny_model}"\n[broker]\nurl = "{mosquitto.url}"\n[telemetry]\nmax_age_s = inf\n'
        '[publish]\nruntime = "edge"\n'
    )
    config.write_text(text + '[decision]\nmute = ["fault_1"]\nunknown_windows = 0\n', encoding="utf-8")
    peer.subscribe("rarefault/#")
    with Daemon(config) as daemon:
        peer.wait_for("rarefault/edge/status")
        half = len(recording.messages) // 2
        recording.play(peer, slice(half))
        wait_until(lambda: len(recording.verdicts_at(peer)) > 50, "verdicts")
        peer.catch_up()
        live = recording.verdicts_at(peer)
        assert "fault_1" in {v["fault"] for v in live}
        assert all(v["overridden"] == ["unknown_windows", "mute"] for v in live)
        for verdict in live:
            offline = recording.expected[verdict["id"]]
            assert (verdict["fault"], verdict["prediction_set"]) == (offline["fault"], offline["prediction_set"])
        alarms = [json.loads(p) for device in recording.devices for p in peer.payloads(f"rarefault/{device}/alarm")]
        assert {a["state"] for a in alarms} == {"normal", "fault_2"}
        assert all(a["overridden"] == ["unknown_windows", "mute"] for a in alarms)
        config.write_text(text, encoding="utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("reloaded")
        recording.play(peer, slice(half, None))
        wait_until(lambda: len(recording.verdicts_at(peer)) >= len(recording.expected), "all verdicts")
        assert "overridden" not in recording.verdicts_at(peer)[-1]
        wait_until(lambda: "fault_1" in alarm_states(peer, recording), "an alarm of the fault")


def alarm_states(peer: "Peer", recording: "Recording") -> set[str]:
    """All states that were said."""
    return {json.loads(p)["state"] for device in recording.devices for p in peer.payloads(f"rarefault/{device}/alarm")}
