"""The reference says what the code does: every key, field, command, metric, topic, table and message of it."""

import ast
import posixpath
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from tests.harness.broker import Mosquitto
from tests.harness.client import Peer
from tools.reference import api, errors, metrics, runs, sources
from tools.reference.commands import help_of
from tools.reference.example import DEVICE, MANIFEST, model_bytes, served
from tools.reference.pages import build
from tools.reference.structs import UndocumentedError, rows

from rarefault.runtime.daemon.setup import FIXED
from rarefault.runtime.journal.writer import Journal
from rarefault.train.report import write_report
from rarefault.train.runs.training import train
from rarefault.train.simulate import simulate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIGURATIONS: dict[str, type[msgspec.Struct]] = {
    "configuration-trainer.md": sources.TrainConfig,
    "configuration-daemon.md": sources.DaemonConfig,
    "configuration-simulate.md": sources.SimulationConfig,
}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The generated pages."""
    return build()


@pytest.fixture(scope="module")
def everything(pages: dict[str, str]) -> dict[str, str]:
    """The generated pages and those by hand, by their path below ``docs/``."""
    by_hand = [path for folder in ("reference", "operations") for path in (DOCS / folder).glob("*.md")]
    hand = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in by_hand}
    return hand | {f"reference/{name}": text for name, text in pages.items()}


def cells(text: str) -> list[list[str]]:
    """The rows of all tables of a page."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not set(line) <= set("|- :")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def sections(config: type[msgspec.Struct]) -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """The anchors' beginning and the struct of each section; top-level keys that are no section stand alone."""
    top = msgspec.structs.fields(config)
    for field in top:
        if field.name == "data":
            yield from ((f"data.{struct.__struct_config__.tag}.", struct) for struct in get_args(field.type))
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield f"{field.encode_name}.", field.type
    if config is sources.SimulationConfig:
        yield "", config


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_key_is_there_with_its_default(pages: dict[str, str], name: str) -> None:
    """The default on the page is the one that the struct has, and each key has a meaning."""
    shown = {match[1]: row for row in cells(pages[name]) if (match := re.match(r'<a id="([^"]+)"></a>`', row[0]))}
    for prefix, struct in sections(CONFIGURATIONS[name]):
        for field in msgspec.structs.fields(struct):
            if field.name == "proportions":
                continue  # a section of its own
            common = f"data.{field.encode_name}"
            key = common if prefix.startswith("data.") and prefix + field.encode_name not in shown else None
            _, allowed, default, meaning = shown[key or prefix + field.encode_name]
            assert allowed
            assert len(meaning) > 8
            assert meaning.endswith("."), meaning
            value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            if value is msgspec.NODEFAULT:
                assert default == "required"
            elif value is None:
                assert default in {"not set", "the model's", "the preset's"}
            else:
                as_toml = re.match(r"`(.*)`", default)
                assert as_toml, default
                found = msgspec.convert(tomllib.loads(f"x = {as_toml[1]}")["x"], field.type)
                assert found == value, (name, field.name)


def test_a_field_without_a_docstring_is_refused() -> None:
    """So no key can be added without its meaning."""

    class Section(msgspec.Struct):
        key: int = 0

    with pytest.raises(UndocumentedError, match=r"Section\.key"):
        rows(Section)


def test_every_command_is_there_as_it_prints_itself(pages: dict[str, str]) -> None:
    """Each line of each help."""
    for name in sources.cli.ORDER:
        usage, description, *rest = help_of(name).split("\n\n")
        shown = pages["cli.md"].partition(f"## `rarefault {name}`\n\n")[2].partition("\n## ")[0]
        assert " ".join(description.lower().split()) in shown.lower()
        for line in "\n".join([usage, *rest]).splitlines():
            assert line.strip() in shown or line == "examples:", line
    command = [sys.executable, "-m", "rarefault.runtime.cli", "retake", "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={"COLUMNS": "100"}).stdout
    assert printed == help_of("retake")


def test_every_metric_of_a_running_daemon_is_there(everything: dict[str, str]) -> None:
    """Name, type and labels as exposed; and what the operations pages name is exposed."""
    exposed = metrics.observe()["/metrics"]
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", exposed, re.MULTILINE))
    shown = {row[0].strip("`"): row for row in cells(everything["reference/metrics.md"])}
    for name, kind in kinds.items():
        if not name.endswith("_created"):
            assert shown[name][1] == kind
    assert shown["rarefault_rejected_total"][2] == "`reason`"
    assert shown["rarefault_alarm_changes_total"][2] == "`state`"
    assert len(kinds) > 30
    for page, text in everything.items():
        for name in re.findall(r"\brarefault_[a-z_]+\b", text):
            assert re.sub(r"_(bucket|sum|count|created)$", "", name) in shown, (page, name)


def test_the_examples_are_what_the_code_makes(pages: dict[str, str]) -> None:
    """Each example can be read back, and is of the model's own telemetry."""
    examples = re.findall(r"```json\n(.*?)\n```", pages["payloads.md"], re.DOTALL)
    structs = (
        sources.VerdictPayload,
        sources.AlarmPayload,
        sources.HealthPayload,
        sources.FeedbackPayload,
        sources.ResultPayload,
    )
    verdict, alarm, *_ = (msgspec.json.decode(e, type=s) for e, s in zip(examples, structs, strict=True))
    assert isinstance(verdict, sources.VerdictPayload)
    assert isinstance(alarm, sources.AlarmPayload)
    assert verdict.device == alarm.device == DEVICE
    assert verdict.fault == alarm.state == "blocked_filter"
    assert list(alarm.channels)[:2] == ["flow", "pressure"]
    for struct in structs:
        for field in msgspec.structs.fields(struct):
            assert f"| `{field.encode_name}` |" in pages["payloads.md"]
    (manifest,) = re.findall(r"```json\n(.*?)\n```", pages["manifest.md"], re.DOTALL)
    assert sources.Manifest.from_json(manifest) == MANIFEST == served().pipeline.manifest


def test_every_error_and_reason_is_there(pages: dict[str, str]) -> None:
    """All classes, exit codes and reasons of rejections."""
    shown = {row[0].replace("&nbsp;", "").strip("`"): row for row in cells(pages["errors.md"])}
    found = [sources.RarefaultError]
    for error in found:
        found += error.__subclasses__()
        assert shown[error.__name__][1] == str(error.exit_code)
        assert error.exit_code in errors.EXIT_CODES
    for reason in sources.Reason:
        assert shown[reason][1].endswith(".")
        assert shown[reason][2].endswith(".")


def test_the_python_api_is_what_the_package_names(pages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry for each public name, at the place where it is defined, also if the package imports it lazily."""
    assert pages["api.md"].count("\n::: ") == len(api.names())
    monkeypatch.setattr(sources.public, "__all__", ["load_model", "__version__"], raising=False)
    monkeypatch.setattr(sources.public, "load_model", sources.load_model, raising=False)
    assert re.findall(r"^::: (.*)$", api.page(), re.MULTILINE) == [
        f"{sources.load_model.__module__}.load_model",
        f"{sources.public.__name__}.__version__",
    ]


def test_the_journal_page_has_every_column(tmp_path: Path, everything: dict[str, str]) -> None:
    """Tables, columns and types are those of a journal that the daemon makes."""
    journal = Journal(tmp_path / "a.journal", ("flow",))
    tables = [row[0] for row in journal._rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {
        name: [(f"`{row[1]}`", row[2]) for row in journal._rows(f"PRAGMA table_info({name})")]
        for name in tables
        if not name.startswith("sqlite_")
    }
    journal.close()
    parts = re.split(r"^## `(\w+)`$", everything["reference/journal.md"], flags=re.MULTILINE)[1:]
    shown = {
        name: [(row[0], row[1]) for row in cells(text)[1:]] for name, text in zip(parts[::2], parts[1::2], strict=True)
    }
    assert shown == columns


def test_the_topics_are_those_of_a_running_daemon(
    tmp_path: Path, everything: dict[str, str], mosquitto: Mosquitto, new_peer: Callable[..., Peer]
) -> None:
    """Every topic that a daemon publishes on is in the table, retained or not as it says."""
    (tmp_path / "pumps.onnx").write_bytes(model_bytes())
    config = tmp_path / "edge.toml"
    config.write_text(
        f'[model]\npath = "pumps.onnx"\n[broker]\nurl = "{mosquitto.url}"\n[publish]\nruntime = "edge"\n'
        '[journal]\npath = "edge.journal"\n[telemetry]\nmax_age_s = inf\n'
    )
    watcher = new_peer(mosquitto.port)
    watcher.subscribe("rarefault/#")
    daemon = subprocess.Popen([sys.executable, "-m", "rarefault.runtime.cli", "run", str(config)], stderr=-3)
    try:
        watcher.wait_for("rarefault/edge/status")
        watcher.wait_for("rarefault/edge/health")
        samples = [
            {"time": 1.7e9 + 60 * i, "values": {"flow": 40, "pressure": 3.2, "current": 11.5}} for i in range(20)
        ]
        watcher.publish(f"telemetry/{DEVICE}", msgspec.json.encode(samples))
        (alarm, *_) = watcher.wait_for(f"rarefault/{DEVICE}/alarm")
        answer = sources.FeedbackPayload(answer="refuted", alarm=msgspec.json.decode(alarm)["id"])
        watcher.publish(f"rarefault/{DEVICE}/feedback", msgspec.json.encode(answer))
        watcher.wait_for(f"rarefault/{DEVICE}/feedback/result")
        late = new_peer(mosquitto.port)
        late.subscribe("rarefault/#")
        late.catch_up()
    finally:
        daemon.terminate()
        daemon.wait()
    places = {DEVICE: "{device}", "edge": "{runtime}"}

    def template(topic: str) -> str:
        prefix, who, rest = topic.split("/", 2)
        assert prefix == "rarefault"
        return f"{{prefix}}/{places[who]}/{rest}"

    published = {template(m.topic) for m in watcher.messages} - {"{prefix}/{device}/feedback"}
    retained = {template(m.topic) for m in late.messages if m.topic.startswith("rarefault/")}
    text = everything["reference/topics.md"]
    shown = {row[0].strip("`"): row[2] for row in cells(text.partition("## Read by")[0])[1:]}
    assert shown == {topic: "yes" if topic in retained else "no" for topic in published}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The run directory of a small real training, and its metrics."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "plants").mkdir()
    simulate(sources.SimulationConfig(plants=2, days=15), folder / "plants", lambda _share: None)
    settings = {
        "data": {"format": "phm2015", "path": "plants"},
        "model": {"network": False},
        "trees": {"rounds": 3, "extra_trees": 2, "swaps": 0},
        "training": {"cross_fit": False, "refit": False},
    }
    result = train(msgspec.convert(settings, sources.TrainConfig), folder, folder / "out", name="small")
    write_report(result)
    return folder / "out", result.metrics


def test_the_run_directory_is_described_whole(pages: dict[str, str], trained: tuple[Path, dict[str, Any]]) -> None:
    """Every file, and every key of ``metrics.json``."""
    run, found = trained
    assert {path.name for path in run.iterdir()} == set(runs.FILES) - {"resume.pt"}
    assert set(found) == set(runs.METRICS) - {"retraining"}
    text = pages["metrics-json.md"]
    scores = found["test"]
    for shown in (
        found,
        found["answer"],
        found["answer"]["faults"]["fault_6"],
        scores,
        next(iter(scores["alarms_by_state"].values())),
        scores["classes"]["normal"],
        scores["coverage"]["normal"],
        scores["events"][0],
        scores["reliability"][0],
        next(iter(scores["affiliation"].values())),
        scores["phm2015"],
        found["cost_curve"][0],
    ):
        for key in shown:
            assert f"| `{key}` |" in text
    for key in (*found["pooling"], *found["pooling"]["held_out_log_loss"]):
        assert f"`{key}`" in text


def test_links_lead_somewhere(everything: dict[str, str]) -> None:
    """Pages and headings that links name are there."""
    heads = {name: re.findall(r"^#+ (.*)$", text, re.MULTILINE) for name, text in everything.items()}
    slugs = {
        name: {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in found}
        for name, found in heads.items()
    }
    for name, text in everything.items():
        for link in re.findall(r"\]\(\s*([^)\s]+)\)", text):
            path, _, anchor = link.partition("#")
            resolved = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
            assert resolved in everything or (DOCS / resolved).is_file(), (name, link)
            assert not anchor or anchor in slugs[resolved], (name, link)


def test_the_index_names_every_page(everything: dict[str, str]) -> None:
    """Nobody has to guess a page's address."""
    for name in everything:
        folder, _, page = name.partition("/")
        assert page == "index.md" or f"]({page})" in everything[f"{folder}/index.md"], name


def test_keys_that_need_a_restart_are_listed(everything: dict[str, str]) -> None:
    """As the daemon has them."""
    text = everything["operations/what-happens-when.md"]
    for key in FIXED:
        assert any(f"`{form.format(key)}`" in text for form in ("{}", "[{}]", "[[{}]]")), key


def messages() -> str:
    """All text that the runtime can print, each piece on a line; what is put in is a gap."""
    found: list[str] = []
    for file in (ROOT / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[-\d.]*[a-z]", "\0", node.value))
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(p.value if isinstance(p, ast.Constant) else "\0" for p in node.values))  # type: ignore[misc]
    return "\n".join(found)


def test_the_messages_to_look_up_are_those_of_the_daemon(everything: dict[str, str]) -> None:
    """Each piece between the gaps of a message occurs in the code."""
    code = messages()
    rows_ = cells(everything["operations/troubleshooting.md"])
    quoted = [piece for row in rows_ for piece in re.findall(r"`([^`]+)`", row[0]) if " " in piece]
    assert len(quoted) > 35
    for text in quoted:
        for piece in text.split("..."):
            assert piece.strip(" ();") in code, text


def test_mkdocs_takes_the_pages_into_the_site(tmp_path: Path) -> None:
    """The hook adds them while the site is built."""
    commands = pytest.importorskip("mkdocs.commands.build", reason="the extra [docs] is not installed")
    base = pytest.importorskip("mkdocs.config.base")
    docs = tmp_path / "docs"
    (docs / "reference").mkdir(parents=True)
    (docs / "index.md").write_text("# Site\n\n[Commands](reference/cli.md)\n")
    (docs / "reference" / "journal.md").write_text("# Journal\n")
    (docs / "reference" / "topics.md").write_text("# Topics\n")
    (tmp_path / "mkdocs.yml").write_text(f"site_name: test\nhooks: [{ROOT / 'tools' / 'mkdocs_hook.py'}]\n")
    commands.build(base.load_config(str(tmp_path / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    built = (tmp_path / "site" / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert "rarefault retake" in built
