"""The page of exit codes, errors and reasons of rejections."""

from collections.abc import Iterator

from tools.reference import sources
from tools.reference.docstrings import class_text, field_texts
from tools.reference.structs import capital, table

FAILED, USAGE = sources.RarefaultError.exit_code, sources.UsageError.exit_code
EXIT_CODES = {
    0: "Done. The daemon: it was stopped (SIGTERM, SIGINT).",
    FAILED: "Failed. The sentence on standard error names the file, key or topic, and what to do.",
    USAGE: "Bad usage or configuration. All problems of a configuration file are listed at once.",
    130: "Interrupted (Ctrl-C).",
}


def page() -> str:
    """``errors.md``."""
    errors = [
        (f"{'&nbsp;' * 4 * depth}`{error.__name__}`", str(error.exit_code), _first(class_text(error)))
        for depth, error in _tree(sources.RarefaultError)
    ]
    texts = field_texts(sources.Reason)
    reasons = [(f"`{reason}`", texts[reason.name], _sentence(sources.REMEDY[reason])) for reason in sources.Reason]
    base = sources.RarefaultError
    return f"""# Exit codes, errors, rejections

## Exit codes

{table(("code", "meaning"), [(str(code), text) for code, text in EXIT_CODES.items()])}

## Errors

Each error is one sentence for a person. In Python they are classes of `{base.__module__}`; catching `{base.__name__}`
catches all of them. `--debug` shows where one was raised. An error of the system that no class covers, such as a full
disk, and an unexpected one also give exit code 1.

{table(("error", "exit code", "meaning"), errors)}

## Rejected telemetry

The daemon counts telemetry that it cannot use, by reason, in `rarefault_rejected_total`. It logs an example of each
reason at most every ten seconds, keeps the message in the [journal](journal.md) (up to 16 KiB of each) and acknowledges
it. `rarefault retake` publishes it again when the cause has been mended.

{table(("reason", "meaning", "what to do"), reasons)}"""


def _tree(error: type[sources.RarefaultError], depth: int = 0) -> Iterator[tuple[int, type[sources.RarefaultError]]]:
    yield depth, error
    for child in error.__subclasses__():
        if child.__module__ == error.__module__:
            yield from _tree(child, depth + 1)


def _first(text: str) -> str:
    return text.partition("\n\n")[0]


def _sentence(text: str) -> str:
    return f"{capital(text)}."
