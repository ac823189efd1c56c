"""What holds for the tree as a whole: namespace, direction of imports, light runtime, commands."""

import ast
import re
import subprocess
import sys
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import pytest

#: The last commit that knew no limit.
SHORT_SINCE = "a423d787b20c2a30449644457a68258b2eae271e"
ROOT = Path(__file__).parents[1]
PORTIONS: dict[str, set[str]] = {
    "runtime": set(),
    "train": {"runtime"},
    "export": {"runtime", "train"},
    "page": {"runtime"},
}
RUNTIME_LIBRARIES = {"msgspec", "numpy", "onnxruntime", "paho", "prometheus_client", "rarefault"}
COMMANDS = sorted(entry_points(group="rarefault.commands"), key=lambda entry: entry.name)


#: Rooms of the trainer, from the bottom up: a room imports itself and those of the lines above it.
ROOMS = (
    {"history", "parallel", "simulate"},
    {"dataset"},
    {"model"},
    {"config"},
    {"fitting"},
    {"evaluation"},
    {"calibration"},
    {"runs"},
    {"report", "replay", "labelling"},
    {"commands"},
    {"proposal"},
)
MOST_MODULES, MOST_LINES = 14, 80
#: Functions that may be longer, and why.
LONG: dict[str, str] = {}


def modules(portion: str) -> list[Path]:
    return sorted((ROOT / portion / "rarefault").rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Full names of all that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


@pytest.mark.parametrize("portion", PORTIONS)
def test_the_namespace_has_no_init(portion: str) -> None:
    """One stray ``rarefault/__init__.py`` would hide the other folders."""
    assert not (ROOT / portion / "rarefault" / "__init__.py").exists()
    assert (ROOT / portion / "rarefault" / portion / "py.typed").is_file()


@pytest.mark.parametrize("portion", PORTIONS)
def test_imports_point_one_way(portion: str) -> None:
    """Export -> train -> runtime, page -> runtime, and never back."""
    allowed = PORTIONS[portion] | {portion}
    for file in modules(portion):
        for name in imported(file):
            parts = name.split(".")
            assert parts[0] != "rarefault" or parts[1] in allowed, f"{file} imports {name}"


def test_rooms_of_the_trainer_import_downwards() -> None:
    """What is fitted knows nothing of runs, and what runs knows nothing of reports and commands."""
    folder = ROOT / "train" / "rarefault" / "train"
    level = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    upwards = []
    for file in modules("train"):
        own = file.relative_to(folder).parts[0].removesuffix(".py")
        if own == "__init__":
            continue  # the public names of all rooms
        for name in imported(file):
            parts = name.split(".")
            if parts[:2] != ["rarefault", "train"] or len(parts) < 3 or parts[2] == own:
                continue
            if level[parts[2]] >= level[own]:
                upwards.append(f"{file.relative_to(folder)} imports {name}")
    assert not upwards


def test_folders_and_functions_stay_small() -> None:
    """A folder can be taken in at a glance, and a function is on one screen."""
    folders = Counter(file.parent for portion in PORTIONS for file in modules(portion) if file.name != "__init__.py")
    assert not {str(folder): n for folder, n in folders.items() if n > MOST_MODULES}
    long = {
        f"{file.relative_to(ROOT)}:{node.name}": lines
        for portion in PORTIONS
        for file in modules(portion)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_LINES
    }
    assert long.keys() == LONG.keys()


def test_the_runtime_uses_its_base_dependencies_alone() -> None:
    """The gateway has no torch, no onnx, no pandas, no rich."""
    for file in modules("runtime"):
        for name in imported(file):
            top = name.split(".")[0]
            assert top in RUNTIME_LIBRARIES or top in sys.stdlib_module_names, f"{file} imports {name}"


def test_importing_the_whole_runtime_loads_nothing_heavy() -> None:
    """Whatever the base dependencies themselves import, the heavy libraries are not among it."""
    names = [
        ".".join(file.relative_to(ROOT / "runtime").with_suffix("").parts).removesuffix(".__init__")
        for file in modules("runtime")
    ]
    heavy = ("torch", "onnx", "pandas", "polars", "sklearn", "rich", "matplotlib")
    code = f"import sys\nfor name in {names!r}: __import__(name)\nprint([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_configuration_is_read_without_the_heavy_libraries() -> None:
    """``rarefault describe`` and others need neither torch nor scikit-learn, which take 250 MB and a second."""
    code = "import sys, rarefault.train.config\nprint([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_each_command_has_help_and_examples(entry: object) -> None:
    """``rarefault COMMAND --help`` says what the command does and shows how it is called."""
    name = entry.name  # type: ignore[attr-defined]
    result = subprocess.run(
        [sys.executable, "-m", "rarefault.runtime.cli", name, "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage: rarefault" in result.stdout
    assert f"rarefault {name} " in result.stdout.split("examples:")[1]


def test_every_command_of_the_design_is_there() -> None:
    """The list of commands is a contract."""
    assert [entry.name for entry in COMMANDS] == [
        "demo", "describe", "doctor", "evaluate", "export", "init", "inspect", "label", "page", "presets", "record",
        "replay", "retake", "run", "simulate", "train", "trials",
    ]  # fmt: skip


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    """The project works from any folder of any machine."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(work|home/\w+|root)/\w")
    for name in listed.stdout.splitlines():
        file = ROOT / name
        if file.suffix in {".py", ".md", ".toml", ".txt", ".j2", ".service"} and file.is_file():
            assert not pattern.search(file.read_text(encoding="utf-8")), name


def test_subjects_of_commits_are_short() -> None:
    """A list of commits is read one line each: 72 characters, since CONTRIBUTING.md asks for it."""
    words = ["git", "log", "--format=%s", f"{SHORT_SINCE}..HEAD"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout, or one without the commits of before")
    assert not [subject for subject in listed.stdout.splitlines() if len(subject) > 72]
