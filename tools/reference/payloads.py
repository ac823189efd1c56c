"""Pages of what travels over MQTT and of the manifest, with examples that the code made."""

import msgspec

from tools.reference import sources
from tools.reference.docstrings import class_text
from tools.reference.example import MANIFEST, START_MS, model, served
from tools.reference.structs import capital, rows, table

HEAD = ("field", "type", "default", "meaning")
SENT = ("field", "type", "present", "meaning")


def payloads_page() -> str:
    """``payloads.md``."""
    messages = "\n\n".join(_message(*message) for message in _messages())
    return f"""# Payloads

All payloads are JSON objects in UTF-8. [Topics](topics.md) says where each is published. New fields may be added in a
later release; a reader should ignore those that it does not know.

{messages}"""


def manifest_page() -> str:
    """``manifest.md``."""
    sections = []
    for path, struct in (
        ("", sources.Manifest),
        ("derived", sources.Derived),
        ("grid", sources.GridSpec),
        ("window", sources.WindowSpec),
        ("decision", sources.DecisionSpec),
    ):
        lines = [(f"`{row.name}`", row.type, row.default, row.meaning) for row in rows(struct)]
        text = capital(class_text(struct).removeprefix(f"`[{path}]`: "))
        sections.append(f"## {f'`{path}`' if path else 'Top level'}\n\n{text}\n\n{table(HEAD, lines)}")
    shown = "\n\n".join(sections)
    return f"""# Manifest

Each model file carries its manifest as JSON text, in the ONNX metadata under the key `{sources.METADATA_KEY}`.
`rarefault inspect plant.onnx` prints it. The daemon refuses a file whose manifest has another version, and needs
nothing but this file to serve the model. C is the number of channels, K that of classes, S the size of the state.

{shown}

## Example

{_json(_plain(MANIFEST))}"""


def _messages() -> list[tuple[str, str, msgspec.Struct]]:
    """Title, topic and an example of each message."""
    found = served()
    made_ms = int(found.verdicts.end_ms[-1]) + 400
    *_, verdict = sources.verdict_payloads(found.verdicts, found.pipeline, made_ms)
    alarm = sources.alarm_payload(found.verdicts.alarms[-1], found.pipeline)
    feedback = sources.FeedbackPayload(answer="confirmed", alarm=alarm.id, note="filter replaced at 09:20")
    result = sources.ResultPayload(
        alarm=alarm.id, accepted=True, reason="", runtime="gateway-1", time=sources.format_ms(made_ms + 1_500_000)
    )
    health = sources.HealthPayload(
        status="online",
        problems=[],
        model=model().model_id,
        devices=1,
        muted=0,
        silent=0,
        overridden={},
        version=sources.public.__version__,
        time=sources.format_ms(START_MS),
    )
    return [
        ("Verdict", "{prefix}/{device}/verdict", verdict),
        ("Alarm", "{prefix}/{device}/alarm", alarm),
        ("Health", "{prefix}/{runtime}/health", health),
        ("Feedback", "{prefix}/{device}/feedback", feedback),
        ("Reply to feedback", "{prefix}/{device}/feedback/result", result),
    ]


def _message(title: str, topic: str, example: msgspec.Struct) -> str:
    """The fields of a message and an example of it."""
    struct = type(example)
    if struct is sources.FeedbackPayload:  # the one that comes in; whoever sends it leaves out what has a default
        shown = table(HEAD, [(f"`{row.name}`", row.type, row.default, row.meaning) for row in rows(struct)])
        sent: object = {key: value for key, value in _plain(example).items() if value not in {"", None, False}}
    else:
        present = {True: "not always", False: "always"}
        lines = [(f"`{row.name}`", row.type, present[row.may_be_absent], row.meaning) for row in rows(struct)]
        shown, sent = table(SENT, lines), _plain(example)
    return f"## {title}\n\nOn `{topic}`. {class_text(struct)}\n\n{shown}\n\nExample:\n\n{_json(sent)}"


def _plain(value: msgspec.Struct) -> dict[str, object]:
    """A message as it is sent; reading it back checks it against its own types."""
    sent = msgspec.json.encode(value)
    msgspec.json.decode(sent, type=type(value))
    plain: dict[str, object] = msgspec.json.decode(sent)
    return plain


def _json(value: object) -> str:
    return f"```json\n{msgspec.json.format(msgspec.json.encode(value), indent=2).decode()}\n```\n"
