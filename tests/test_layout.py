"""The layout that the design promises: who imports whom, what an import costs, what the wheel holds."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("lrtune", "bitnet")


def modules() -> dict[str, Path]:
    """Dotted name → file, for every module of both packages."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = file
    return found


MODULES = modules()


@cache
def imports(module: str) -> list[tuple[str, bool]]:
    """(what is imported, whether inside a function or for type checking only) of one module, as dotted names."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return list(_imports(tree, module, lazy=False))


def _imports(node: ast.AST, module: str, lazy: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _types_only(child)
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parts = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
                base = ".".join(parts[: len(parts) - child.level + 1] + ([base] if base else []))
            for alias in child.names:
                whole = f"{base}.{alias.name}"
                yield (whole if whole in MODULES else base), inside
        yield from _imports(child, module, inside)


def _types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def ours(module: str) -> set[str]:
    """The modules of this project that a module imports, at its top or anywhere within."""
    return {name for name, _ in imports(module) if name.partition(".")[0] in PACKAGES}


def foreign(module: str, *, lazy_too: bool) -> set[str]:
    """The top-level packages from elsewhere, the standard library left out."""
    return {
        top
        for name, lazy in imports(module)
        if (lazy_too or not lazy) and (top := name.partition(".")[0]) not in PACKAGES
        if top not in sys.stdlib_module_names
    }


def table() -> list[list[str]]:
    """The rows of ARCHITECTURE.md, lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return [names.split() for names in re.findall(r"^\| \d+ \| (.+?) \|$", text, re.M)]


def bitnet_order() -> list[str]:
    """bitnet's packages from left to right, as ARCHITECTURE.md has them."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^bitnet, each from the left only: (.+)\.$", text, re.M)
    return [name.strip() for name in line.split("→")]


ROWS = table()
BITNET = bitnet_order()
# Imports that still point upward, or out of the list above: none may be added.
EXCEPTIONS: set[tuple[str, str]] = set()
STDLIB_ONLY = [
    "errors",
    "files",
    "diversity",
    "named",
    "fields",
    "rule",
    "study",
    "trainer.trial",
    "trainer.find",
    "records.record",
    "records.jsonl",
    "search.pruning.curve",
    "search.pruning.verdict",
    "search.pruning.beaten",
]
# Libraries for one format or one place, imported inside the function that needs them.
FORMATS = {
    "lrtune.files": {"platformdirs"},
    "lrtune.study.toml": {"tomli_w"},
    "lrtune.rule.export": {"tomli_w"},
}
MAY_IMPORT_OPTUNA = {
    "lrtune.search.optuna_study",
    "lrtune.search.sampling.roles",
    "lrtune.search.sampling.sampler",
    "lrtune.search.sampling.trials",
    "lrtune.search.pruning.pruner",
    "lrtune.records.storages",
}
BITNET_MAY_IMPORT = {"lrtune.trainer", "lrtune.fields", "lrtune.files", "lrtune.diversity"}


def package(module: str) -> str:
    """The package of a module of lrtune, as ROWS names it: "study", "search.pruning", "search", "errors"."""
    parts = module.split(".")[1:]
    two = ".".join(parts[:2])
    return two if any(two in names for names in ROWS) else parts[0]


def row(name: str) -> int:
    """The row of a package of lrtune."""
    rows = [number for number, names in enumerate(ROWS) if name in names]
    assert rows, f"lrtune.{name} has no row in the import table yet"
    return rows[0]


def upward(module: str) -> set[str]:
    """What a module imports from its own row, other than its own package, or from a row above."""
    own = package(module)
    return {
        name
        for name in ours(module)
        if name.startswith("lrtune.") and package(name) != own and row(package(name)) >= row(own)
    }


def test_each_test_file_has_a_name_of_its_own() -> None:
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}, "pytest takes two of one name for one module"


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 13
    assert {package(module) for module in MODULES if module.startswith("lrtune.")} <= {n for r in ROWS for n in r}


def test_imports_point_downward() -> None:
    found = {(module, name) for module in MODULES if module.startswith("lrtune.") for name in upward(module)}
    assert found == EXCEPTIONS


def test_bitnet_imports_point_left() -> None:
    for module in MODULES:
        if module.startswith("bitnet."):
            own = BITNET.index(module.split(".")[1])
            for name in ours(module):
                if name.startswith("bitnet.") and name.split(".")[1] != module.split(".")[1]:
                    assert (module, name) in EXCEPTIONS or BITNET.index(name.split(".")[1]) < own, (module, name)


def test_no_module_needs_itself() -> None:
    """What is imported at the top of a module never comes back to it."""
    graph = {module: {name for name, lazy in imports(module) if not lazy and name in MODULES} for module in MODULES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path, module))
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_the_contracts_need_the_standard_library_alone(name: str) -> None:
    """get_learning_rate, records and verdicts work wherever Python does, and so does all that they import."""
    seen: set[str] = set()
    waiting = [module for module in MODULES if f"{module}.".startswith(f"lrtune.{name}.")]
    assert waiting
    while waiting:
        module = waiting.pop()
        assert foreign(module, lazy_too=False) == set(), module
        assert foreign(module, lazy_too=True) <= FORMATS.get(module, set()), module
        seen.add(module)
        waiting += [name for name in ours(module) - seen if name in MODULES]


def test_the_tuner_knows_no_model() -> None:
    for module in MODULES:
        if module.startswith("lrtune"):
            assert not {name for name in ours(module) if name.startswith("bitnet")}, module
            assert "torch" not in foreign(module, lazy_too=False), f"{module} loads torch when it is imported"


# Where lrtune may speak of the model that comes with it: published rules, which name their models; the study and the
# template that train it.
MAY_NAME_THE_MODEL = {
    *("rule/ask.py", "rule/published.py", "rule/packaged_rule.py", "rule/packaged_muon.py"),
    *("study/quick.toml", "study/study-template.toml"),
}


def test_the_tuner_does_not_speak_of_the_model() -> None:
    words = re.compile(r"bitnet|ternary|bitlinear|phase 4", re.IGNORECASE)
    for file in sorted((ROOT / "lrtune").rglob("*.*")):
        name = file.relative_to(ROOT / "lrtune").as_posix()
        if file.suffix in (".py", ".toml", ".json", ".html") and name not in MAY_NAME_THE_MODEL:
            found = words.findall(file.read_text(encoding="utf-8"))
            assert not found, (name, found)


def test_the_model_knows_the_trainer_contract_alone() -> None:
    for module in MODULES:
        if module.startswith("bitnet"):
            assert {name for name in ours(module) if name.startswith("lrtune")} <= BITNET_MAY_IMPORT, module


def test_only_few_modules_know_optuna() -> None:
    knowing = {module for module in MODULES if "optuna" in foreign(module, lazy_too=True)}
    assert knowing <= MAY_IMPORT_OPTUNA, knowing - MAY_IMPORT_OPTUNA


def test_nothing_imports_the_command_line() -> None:
    for module in MODULES:
        if module != "lrtune.__main__" and not module.startswith("lrtune.cli"):
            assert not {name for name in ours(module) if name.startswith("lrtune.cli")}, module


def fresh(code: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that imports from `folder`, this tree if nothing else is said."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import lrtune",
        "import lrtune; lrtune.get_learning_rate(64)",
        "from lrtune import get_learning_rate; get_learning_rate(64)",
        "import lrtune; lrtune.recommend(64)",
        "import lrtune; lrtune.get_learning_rate(256)",
    ],
)
def test_asking_for_a_learning_rate_loads_nothing_heavy(code: str) -> None:
    packages = ["torch", "optuna", "numpy", "scipy", "typer", "rich", "sqlalchemy", "bitnet"]
    heavy = (*packages, "json", "typing", "contextlib", "statistics", "inspect")
    done = fresh(f"import sys\n{code}\nprint([name for name in {heavy} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_reading_tokens_needs_numpy_alone() -> None:
    heavy = ("torch", "datasets", "tokenizers", "platformdirs", "filelock", "rich", "optuna")
    done = fresh(f"import sys\nimport bitnet.data.prepare\nprint([name for name in {heavy} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


ENTRY = "from lrtune.trainer.find import resolve_trainer\nresolve_trainer('default')"


@pytest.mark.slow
@pytest.mark.parametrize(
    "init", ["class BitLinear: pass", "from nothing_of_this_name import zeta"], ids=["other", "broken"]
)
def test_the_wrong_bitnet_is_named(tmp_path: Path, init: str) -> None:
    """PyPI has a `bitnet` of another author; found first, it must not train in our name."""
    (tmp_path / "lrtune").symlink_to(ROOT / "lrtune")
    (tmp_path / "bitnet").mkdir()
    (tmp_path / "bitnet" / "train.py").write_text("def train(trial): pass")
    (tmp_path / "bitnet" / "__init__.py").write_text(init)
    _entry_point(tmp_path)
    done = fresh(ENTRY, folder=tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("lrtune.errors.InputError: trainer: 'default' expected lrtune's package 'bitnet'")
    assert "pip uninstall bitnet" in last


def _entry_point(folder: Path) -> None:
    """What an installed lrtune declares, so that the test does not depend on an installation."""
    info = folder / "lrtune-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lrtune\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[lrtune.trainers]\ndefault = bitnet.train:train\n")


@pytest.mark.slow
def test_the_bundled_trainer_is_found_and_is_ours(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    _entry_point(tmp_path)
    done = fresh(ENTRY + "\nprint('found')", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.stdout.strip() == "found", done.stderr


@pytest.mark.slow
def test_the_process_of_a_search_does_not_load_torch(tmp_path: Path) -> None:
    """It checks and prepares; only its workers train, and theirs are the seconds that torch takes to load."""
    _entry_point(tmp_path)
    look = "print([name for name in ('torch', 'datasets', 'altair') if name in sys.modules])"
    loaded = "lrtune.search.adaptive, lrtune.search.session, lrtune.study.study, bitnet.data.prepare"
    code = f"import sys\nimport {loaded}\n{ENTRY}"
    done = fresh(f"{code}.check(lrtune.study.study.Study(name='x'))\n{look}", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_a_missing_torch_is_reported_before_anything_runs(tmp_path: Path) -> None:
    _entry_point(tmp_path)
    blind = "u.find_spec = lambda name, find=u.find_spec: None if name == 'torch' else find(name)"
    check = ENTRY + ".check(lrtune.Study(name='x'))"
    done = fresh(f"import importlib.util as u, lrtune\n{blind}\n{check}", PYTHONPATH=f"{ROOT}:{tmp_path}")
    last = done.stderr.strip().splitlines()[-1]
    assert last == "lrtune.errors.MissingExtraError: trainer 'default' needs torch: pip install 'lrtune[bitnet]'"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from this tree."""
    builders = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    target = tmp_path_factory.mktemp("wheel")
    (built,) = builders.WheelBuilder(str(ROOT)).build(directory=str(target), versions=["standard"])
    return set(zipfile.ZipFile(built).namelist())


def test_the_wheel_holds_both_packages_and_no_studies(wheel: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {name for name in tops if not name.endswith(".dist-info")} == set(PACKAGES)
    ours = {file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()}
    names = {str(file.relative_to(ROOT)) for file in ours if "__pycache__" not in file.parts}
    rules = {"lrtune/rule/packaged_rule.py", "lrtune/rule/packaged_muon.py"}
    assert {"lrtune/py.typed", "lrtune/study/quick.toml", "bitnet/train.py", *rules} <= names
    assert names <= wheel, names - wheel
