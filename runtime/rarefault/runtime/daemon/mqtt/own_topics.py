"""The daemon's own topics: ``status`` and ``health``, which the broker retains."""

from rarefault.runtime.daemon.mqtt.connection import Connection

#: Payloads of the status topic; impaired is a daemon that is up and cannot take or keep telemetry, or use any of it.
ONLINE, OFFLINE, IMPAIRED = b"online", b"offline", b"impaired"


class OwnTopics:
    """Publishes what has changed, and all of it again on a new connection.

    Args:
        prefix: of the topics, with the daemon's name; empty where nothing is published.
    """

    def __init__(self, prefix: str) -> None:
        self.status_topic, self._health_topic = (f"{prefix}/status", f"{prefix}/health") if prefix else ("", "")
        self._status = self._published_status = ONLINE
        self._health = self._published_health = b""

    def set_status(self, *, impaired: bool) -> None:
        """How the daemon is."""
        self._status = IMPAIRED if impaired else ONLINE

    def set_health(self, payload: bytes) -> None:
        """How it is in detail."""
        self._health = payload

    def begin(self, connection: Connection) -> None:
        """The connection is new: publish the status; the health follows when it is known."""
        self._published_status, self._published_health = self._status, b""
        if self.status_topic:
            connection.publish(self.status_topic, self._status, qos=1, retain=True)

    def publish(self, connection: Connection) -> None:
        """Publish what has changed."""
        if self._status != self._published_status:
            self._published_status = self._status
            connection.publish(self.status_topic, self._status, qos=1, retain=True)
            connection.flush()
        if self._health != self._published_health:
            self._published_health = self._health
            connection.publish(self._health_topic, self._health, qos=1, retain=True)
            connection.flush()

    def farewell(self, connection: Connection, health: bytes) -> int | None:
        """Publish ``offline``, with the health where it is not empty.

        Returns:
            The id of the last message's confirmation, None where nothing is published.
        """
        if not self.status_topic:
            return None
        if health:
            connection.publish(self._health_topic, health, qos=1, retain=True)
        return connection.publish(self.status_topic, OFFLINE, qos=1, retain=True)
