"""Events about people, and where they are sent: standard output, a file, an MQTT broker, a webhook."""

from reid_toolkit.live.events.address import open_sinks
from reid_toolkit.live.events.event import Event
from reid_toolkit.live.events.sink import EventSink

__all__ = ["Event", "EventSink", "open_sinks"]
