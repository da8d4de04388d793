"""Finds a trainer by entry-point name, by ``module:function``, as a function object, or as a command line."""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from lrtune.errors import InputError, LrtuneError, MissingExtraError
from lrtune.extras import extra_with
from lrtune.study.study import Study
from lrtune.trainer.command import command_trainer
from lrtune.trainer.function import PREFIX, known
from lrtune.trainer.source import source_hash
from lrtune.trainer.trial import Trainer

_ENTRY_POINTS = "lrtune.trainers"
_DISTRIBUTION = "lrtune"


def trainer_of(study: Study) -> Trainer:
    """The trainer of a study: its command line, or its named function.

    Raises:
        InputError: see `resolve_trainer` and `command_trainer`.
    """
    return command_trainer(study.command, study.log) if study.command else resolve_trainer(study.trainer)


def resolve_trainer(target: str) -> Trainer:
    """Find a trainer by entry-point name (``default``) or by ``module:function``.

    The working folder comes first for the named module and last for its imports: a file there cannot shadow an
    installed package.

    Raises:
        InputError: the trainer was not found, or its import failed.
    """
    if target.startswith(PREFIX):
        return known(target)
    if ":" in target:
        module_name, _, name = target.rpartition(":")
        if module_name.endswith(".py") or not all(part.isidentifier() for part in module_name.split(".")):
            raise InputError(f"trainer: expected module:function, but got {target!r}{_hint(module_name, name)}")
        return _from_module(target, module_name, name)
    installed = installed_trainers()
    if target not in installed:
        names = ", ".join(sorted(installed)) or "none installed"
        more = "; a command line needs {learning_rate} in it" if " " in target else ""
        raise InputError(
            f"trainer: expected module:function or one of the installed names ({names}), but got {target!r}{more}"
        )
    point = installed[target]
    module_name, _, name = point.value.partition(":")
    package = module_name.partition(".")[0]
    if point.dist is not None and point.dist.name == _DISTRIBUTION and package != __name__.partition(".")[0]:
        _check_bundled(target, package)
    return _from_module(target, module_name, name)


def _refusing(check: Callable[[Study], None]) -> Callable[[Study], None]:
    """The trainer's check; its `ValueError` is a refusal of the study, like an `InputError`."""

    def refuse(study: Study) -> None:
        try:
            check(study)
        except ValueError as error:
            raise InputError(str(error) or "trainer: its check raised ValueError") from error

    return refuse


def installed_trainers() -> dict[str, importlib.metadata.EntryPoint]:
    """The trainers of installed distributions, by name."""
    return {point.name: point for point in importlib.metadata.entry_points(group=_ENTRY_POINTS)}


def _check_bundled(target: str, package: str) -> None:
    """Refuse a package of the bundled trainer's name from another distribution on PyPI.

    Installed after lrtune, that one overwrites ``__init__.py`` and keeps our modules, so module names prove nothing;
    only our ``__init__.py`` has ``__distribution__``.
    """
    spec = importlib.util.find_spec(package)
    try:
        owner = getattr(importlib.import_module(package), "__distribution__", None)
    except Exception:  # the other package imports modules that may not be installed
        owner = None
    if owner != _DISTRIBUTION:
        place = spec.origin if spec is not None else "no file"
        raise InputError(
            f"trainer: {target!r} expected lrtune's package {package!r}, but found another one ({place}); "
            f"remove it (pip uninstall {package}), then pip install --force-reinstall --no-deps lrtune"
        )


def _hint(path: str, name: str) -> str:
    """A hint for a user who gave a path instead of a module's name."""
    if not path.endswith(".py"):
        return ""
    parts = Path(path).with_suffix("").parts
    if all(part.isidentifier() for part in parts):
        return f"; did you mean {'.'.join(parts)}:{name}?"
    return "; change to the file's folder and give its name without .py"


def _import_here(module_name: str) -> ModuleType:
    """Import a module, from the working folder if its package or file is there."""
    try:
        here = str(Path.cwd())
    except FileNotFoundError:  # the working folder was deleted
        return importlib.import_module(module_name)
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)
    top = module_name.partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(top, [here])
    if top not in sys.modules and spec is not None and spec.loader is not None and spec.origin is not None:
        sys.modules[top] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[top])
        except BaseException:
            sys.modules.pop(top, None)
            raise
    return importlib.import_module(module_name)


def _from_module(target: str, module_name: str, name: str) -> Trainer:
    try:
        module = _import_here(module_name) if ":" in target else importlib.import_module(module_name)
        function = getattr(module, name, None)
    except LrtuneError:
        raise
    except ModuleNotFoundError as error:
        extra = extra_with(error.name or "") if ":" not in target else None
        if extra is not None:
            raise MissingExtraError(extra, str(error.name), f"trainer {target!r}") from None
        top = module_name.partition(".")[0]
        is_in_src = error.name == top and (Path("src", top).is_dir() or Path("src", f"{top}.py").exists())
        hint = "; it is in src: install it (pip install -e .) or set PYTHONPATH=src" if is_in_src else ""
        raise InputError(f"trainer: cannot import {target!r}: ModuleNotFoundError: {error}{hint}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"trainer: cannot import {target!r}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise InputError(f"trainer: module {module_name!r} has no function {name!r}")
    if getattr(function, "__lrtune_population__", False):
        train, many = None, function
    else:
        candidate = getattr(module, "train_population", None)
        train, many = function, candidate if getattr(candidate, "__lrtune_population__", False) else None
    return Trainer(
        target=target,
        train=train,
        train_population=many,
        check=_refusing(module.check) if getattr(module, "check", None) is not None else None,
        prepare=getattr(module, "prepare", None),
        tokens_per_step=getattr(module, "tokens_per_step", None),
        members_at_once=getattr(module, "members_at_once", None) if many is not None else None,
        step_seconds=getattr(module, "step_seconds", None),
        column_titles=getattr(module, "column_titles", {}),
        verification_options=getattr(module, "verification_options", None),
        doctor=getattr(module, "doctor", None),
        source=source_hash([module.__file__] if module.__file__ else []),
    )
