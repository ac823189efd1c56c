"""The numbers behind the metrics, read from the daemon's parts."""

from rarefault.runtime.daemon.parts import Parts


def counts(parts: Parts) -> dict[str, float | dict[str, int] | dict[tuple[str, str], int]]:
    """All numbers by the name of their metric; other threads may ask."""
    session, store, intake = parts.session, parts.store, parts.intake
    grid, rejections, broker = store.pipeline.grid, intake.rejections, parts.broker_delivery
    classes = parts.setup.model.manifest.classes
    verdicts = parts.totals.verdicts
    return {
        "rarefault_connected": float(session.connected),
        "rarefault_connections_total": session.connections,
        "rarefault_sessions_lost_total": session.subscriptions.sessions_lost,
        "rarefault_messages_total": intake.messages,
        "rarefault_messages_dropped_total": session.dropped,
        "rarefault_messages_waiting": session.waiting,
        "rarefault_samples_total": rejections.samples,
        "rarefault_samples_late_total": grid.late,
        "rarefault_samples_distrusted_total": grid.distrusted,
        "rarefault_values_missing_total": store.pipeline.named_missing,
        "rarefault_values_dropped_total": {
            (channel, str(why)): n
            for (channel, why), n in (rejections.dropped_values + store.pipeline.dropped_values).items()
        },
        "rarefault_ignored_total": {str(why): n for why, n in rejections.ignored.items()},
        "rarefault_rejected_total": {str(reason): n for reason, n in rejections.counts.items()},
        "rarefault_unknown_channels_total": rejections.unknown_channels,
        "rarefault_edge_nodes": sum(node.state.alive for node in store.nodes),
        "rarefault_sparkplug_gaps_total": store.nodes.counts["gaps"],
        "rarefault_sparkplug_rebirths_total": parts.rebirths.requested,
        "rarefault_feedback_total": intake.feedback,
        "rarefault_devices": len(store.devices),
        "rarefault_devices_silent": parts.presence.silent,
        "rarefault_devices_muted": len(grid.clocks.muted()),
        "rarefault_device_restarts_total": grid.restarts,
        "rarefault_clock_steps_total": parts.clock.steps,
        "rarefault_verdicts_total": {name: verdicts[name] for name in classes} | dict(verdicts),
        "rarefault_alarm_changes_total": dict(parts.totals.alarms),
        "rarefault_outbox_messages": len(broker.outbox),
        "rarefault_outbox_dropped_total": broker.outbox.dropped,
        "rarefault_refused_total": parts.broker.refused,
        "rarefault_journal_bytes": store.bytes(),
        "rarefault_journal_failures_total": store.failures,
        "rarefault_journal_damaged_total": store.damaged,
        "rarefault_reloads_total": dict(parts.totals.reloads),
        "rarefault_sink_messages": {sink.name: len(store.outboxes[sink.name]) for sink in parts.sinks},
        "rarefault_sink_dropped_total": {sink.name: store.outboxes[sink.name].dropped for sink in parts.sinks},
        "rarefault_sink_written_total": {sink.name: sink.written for sink in parts.sinks},
        "rarefault_sink_failures_total": {sink.name: sink.failures for sink in parts.sinks},
        "rarefault_sink_ready": {sink.name: int(not sink.problem) for sink in parts.sinks},
    }
