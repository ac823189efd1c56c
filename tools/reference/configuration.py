"""Pages of the configuration files: trainer, daemon, simulation."""

from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from tools.reference import sources
from tools.reference.docstrings import class_text
from tools.reference.structs import Row, capital, rows, table, toml

HEAD = ("key", "type, allowed values", "default", "meaning")
FORM = """\
The file is TOML. An unknown key, a wrong type or an impossible value is refused, with the full path of the key (exit
code 2). Where a list is expected, a single value may stand without brackets."""


def trainer_page() -> str:
    """``configuration-trainer.md``."""
    sections = []
    for field in msgspec.structs.fields(sources.TrainConfig):
        if field.name == "data":
            sections.append(_data(get_args(field.type)))
        elif field.name == "model":
            sections += [_section(field.encode_name, field.type, "the preset's"), _presets()]
        else:
            sections.append(_section(field.encode_name, field.type, "not set"))
    return f"""# Configuration of the trainer

One file for `rarefault train`, `describe`, `evaluate`, `trials` and `replay`. Only `[data]` is required; the smallest
file is

```toml
[data]
format = "table"
samples = "telemetry.csv"
events = "faults.csv"
```

{FORM} `rarefault train --set KEY=VALUE` replaces a key for one run. The run directory holds the file with all of its
defaults, as `config.toml`.

{_joined(sections)}"""


def daemon_page() -> str:
    """``configuration-daemon.md``."""
    sections = [
        _section(field.encode_name, field.type, "the model's" if field.name == "decision" else "not set")
        for field in sorted(msgspec.structs.fields(sources.DaemonConfig), key=lambda field: field.name != "model")
    ]
    return f"""# Configuration of the daemon

One file for `rarefault run`, `rarefault doctor` and `rarefault record`. Only `model.path` is required, and `record`
does without it. {FORM} `rarefault run --check` and
`rarefault doctor` check a file. A changed file is loaded on SIGHUP, or by itself with `model.watch`;
[some keys need a restart](../operations/what-happens-when.md#new-model-or-configuration).

{_joined(sections)}"""


def simulation_page() -> str:
    """``configuration-simulate.md``."""
    config = sources.SimulationConfig
    sections = [f for f in msgspec.structs.fields(config) if f.encode_name == "proportions"]
    own = [row for row in rows(config) if row.name not in {f.encode_name for f in sections}]
    return f"""# Configuration of the simulation

A file for `rarefault simulate --config`. No key is required; the command's options win over the file. {FORM}

## Top level

{class_text(config)}

{_table("", own)}

{_joined([_section(f.encode_name, f.type, "not set") for f in sections])}"""


def _joined(sections: list[str]) -> str:
    return "\n\n".join(sections)


def _section(name: str, type_: Any, unset: str) -> str:
    """A section, one that may stand several times (a tuple of structs), or one for each name (a dictionary)."""
    if get_origin(type_) in (Union, UnionType):
        type_ = get_args(type_)[0]  # one, or a list of such
    if get_origin(type_) is dict:
        struct, head = get_args(type_)[1], f'[{name}."NAME"]'
    elif get_origin(type_) is tuple:
        struct, head = get_args(type_)[0], f"[[{name}]]"
        if get_origin(struct) in (Union, UnionType):
            return _kinds(name, get_args(struct), unset)
    else:
        struct, head = type_, f"[{name}]"
    text = class_text(struct).removeprefix(f"`{head}`: ").removeprefix(f"`{head}` of ")
    return f"## `{head}`\n\n{capital(text)}\n\n{_table(name, rows(struct, unset))}"


def _kinds(name: str, kinds: tuple[Any, ...], unset: str) -> str:
    """A section that may stand several times, and is of one of several kinds."""
    tags = [str(struct.__struct_config__.tag) for struct in kinds]
    words = " or ".join(f'`"{tag}"`' for tag in tags)
    parts = [f"## `[[{name}]]`\n\nMay stand several times. `kind` is {words}."]
    for tag, struct in zip(tags, kinds, strict=True):
        text = class_text(struct).removeprefix(f"`[[{name}]]`, kind `{tag}`: ")
        found = _table(f"{name}.{tag}", rows(struct, unset))
        parts.append(f'### `kind = "{tag}"`\n\n{capital(text)}\n\n{found}')
    return "\n\n".join(parts)


def _table(section: str, found: list[Row]) -> str:
    """The keys of a section, each with an anchor such as ``broker.url``."""
    path = f"{section}." if section else ""
    lines = [(f'<a id="{path}{row.name}"></a>`{row.name}`', row.type, row.default, row.meaning) for row in found]
    return table(HEAD, lines)


def _data(formats: tuple[type[msgspec.Struct], ...]) -> str:
    """``[data]``: the keys that all sources have, then those of each format."""
    by_format = {str(struct.__struct_config__.tag): (struct, rows(struct)) for struct in formats}
    several = next(tag for tag, (struct, _) in by_format.items() if "sources" in struct.__struct_fields__)
    common = [
        row
        for row in next(iter(by_format.values()))[1]
        if all(row in found for tag, (_, found) in by_format.items() if tag != several)
    ]
    words = ", ".join(f'`"{tag}"`' for tag in by_format)
    parts = [
        f"""## `[data]`

Which history to read. `format` is required and says which other keys there are: {words}.

### Every format

These keys are the same for each format. With `format = "{several}"` they stand in each `[[data.sources]]`.

{_table("data", common)}"""
    ]
    for tag, (struct, found) in by_format.items():
        own = [row for row in found if row not in common or tag == several]
        parts.append(f'### `format = "{tag}"`\n\n{class_text(struct)}\n\n{_table(f"data.{tag}", own)}')
    events = sources.EventsConfig
    parts.append(f"### `[data.events]`\n\n{capital(_own_text(events))}\n\n{_table('data.events', rows(events))}")
    return _joined(parts)


def _own_text(struct: type[msgspec.Struct]) -> str:
    """The text of a section without its name before it."""
    return class_text(struct).partition(": ")[2]


def _presets() -> str:
    """The values of each preset."""
    fields = [f.name for f in msgspec.structs.fields(sources.ModelSpec)]
    lines = [(f"`{name}`", *map(toml, msgspec.structs.astuple(spec))) for name, spec in sources.PRESETS.items()]
    return "### Presets\n\n" + table(("preset", *(f"`{name}`" for name in fields)), lines)
