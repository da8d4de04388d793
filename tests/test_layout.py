"""The layout that the design promises: who imports whom, what an import costs, what the wheel holds."""

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
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


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """(what is imported, whether inside a function or for type checking only) of one module, as dotted names."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    yield from _imports(tree, module, lazy=False)


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


# The design's order, bottom up. A module imports from rows below its own, or from its own row, never from above.
ROWS = [
    line.split()
    for line in """
    errors files signals
    diversity trainer command guard study expression records
    rule ruledata ruleparse rulefile answer published events
    shapes evidence
    runcurve beaten pruning arms law lawcell lawforms forms effective companions cells forecast curve boundary \
    circumstances check surface
    design runfolder storage replay
    room pruner sampler assessment belief acquisition importers tables export
    search session adaptive plan status conclusion trials taskqueue leases
    worker attempt compare verify
    engines
    report summary plots terminal_chart live drawing progress doctor check_trainer huggingface
    cli __main__
    """.strip().splitlines()
]
STDLIB_ONLY = ("rule", "published", "diversity", "trainer", "study", "records", "pruning", "errors", "files")
# `trials` is the side of the search that faces Optuna's storage, `adaptive` the one that faces our sampler.
_SEARCH = {"lrtune.search", "lrtune.trials", "lrtune.adaptive"}
# `tables` is the side of the importers that reads files and storages.
MAY_IMPORT_OPTUNA = {*_SEARCH, "lrtune.sampler", "lrtune.pruner", "lrtune.importers", "lrtune.tables"}
BITNET_MAY_IMPORT = {"lrtune.trainer", "lrtune.diversity"}


def row(module: str) -> int:
    """The row of a module of lrtune, by its first name below the package; the package itself stands below all."""
    if module == "lrtune":
        return -1
    first = module.split(".")[1]
    rows = [number for number, names in enumerate(ROWS) if first in names]
    assert rows, f"{module} has no place in the import table yet: give it one in ROWS"
    return rows[0]


def test_imports_point_downwards() -> None:
    for module in MODULES:
        if module.startswith("lrtune."):
            for name in sorted(name for name in ours(module) if name.startswith("lrtune")):
                assert row(module) >= row(name), f"{module} imports {name} from above"


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
    seen, waiting = set(), [f"lrtune.{name}"]
    while waiting:
        module = waiting.pop()
        assert foreign(module, lazy_too=True) == set(), module
        seen.add(module)
        waiting += [name for name in ours(module) - seen if name in MODULES]


def test_the_tuner_knows_no_model() -> None:
    for module in MODULES:
        if module.startswith("lrtune"):
            assert not {name for name in ours(module) if name.startswith("bitnet")}, module
            assert "torch" not in foreign(module, lazy_too=False), f"{module} loads torch when it is imported"


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


@pytest.mark.parametrize(
    "code",
    [
        "import lrtune",
        "import lrtune; lrtune.get_learning_rate(64)",
        "from lrtune import get_learning_rate; get_learning_rate(64)",
        "import lrtune; lrtune.recommend(64)",
    ],
)
def test_asking_for_a_learning_rate_loads_nothing_heavy(code: str) -> None:
    heavy = ("torch", "optuna", "numpy", "scipy", "typer", "rich", "sqlalchemy", "bitnet")
    done = fresh(f"import sys\n{code}\nprint([name for name in {heavy} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_reading_tokens_needs_numpy_alone() -> None:
    heavy = ("torch", "datasets", "tokenizers", "platformdirs", "filelock", "rich", "optuna")
    done = fresh(f"import sys\nimport bitnet.data\nprint([name for name in {heavy} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


ENTRY = "from lrtune.trainer import resolve_trainer\nresolve_trainer('default')"


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
    assert last.startswith("lrtune.errors.InputError: trainer: 'default' expected lrtune's own package 'bitnet'")
    assert "pip uninstall bitnet" in last


def _entry_point(folder: Path) -> None:
    """What an installed lrtune declares, so that the test does not depend on an installation."""
    info = folder / "lrtune-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lrtune\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[lrtune.trainers]\ndefault = bitnet.train:train\n")


def test_the_bundled_trainer_is_found_and_is_ours(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    _entry_point(tmp_path)
    done = fresh(ENTRY + "\nprint('found')", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.stdout.strip() == "found", done.stderr


def test_the_process_of_a_search_does_not_load_torch(tmp_path: Path) -> None:
    """It checks and prepares; only its workers train, and theirs are the seconds that torch takes to load."""
    _entry_point(tmp_path)
    look = "print([name for name in ('torch', 'datasets', 'altair') if name in sys.modules])"
    code = f"import sys\nimport lrtune.adaptive, lrtune.session, lrtune.study, bitnet.data\n{ENTRY}"
    done = fresh(f"{code}.check(lrtune.study.Study(name='x'))\n{look}", PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_torch_is_said_before_anything_runs(tmp_path: Path) -> None:
    _entry_point(tmp_path)
    blind = "u.find_spec = lambda name, find=u.find_spec: None if name == 'torch' else find(name)"
    done = fresh(f"import importlib.util as u\n{blind}\n{ENTRY}", PYTHONPATH=f"{ROOT}:{tmp_path}")
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
    assert {"lrtune/py.typed", "lrtune/quick.toml", "lrtune/packaged-rule.json", "bitnet/train.py"} <= names
    assert names <= wheel, names - wheel
