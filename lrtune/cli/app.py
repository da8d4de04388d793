"""All verbs as one Typer application, each with an example."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from types import CodeType
from typing import Annotated, Any

import typer

# Each verb, in the order of the help page, with an example; its function is in the module of its name.
_VERBS = {
    "search": "lrtune search --widths 32,64,128 --budget 10m --out runs/first",
    "compare": "lrtune compare studies/phase4/study.toml --dry-run",
    "verify": "lrtune verify 256 --steps 2000",
    "worker": "lrtune worker --storage postgresql://me@db/lrtune --study reference",
    "lr": "python train.py --lr $(lrtune lr 256 --plain)",
    "use": "lrtune use runs/first",
    "export": "lrtune export --format python -o learning_rate.py",
    "fit": "lrtune fit sweep.csv --lr lr --loss val_loss --scale hidden_size=d_model",
    "check": "lrtune check lrtune-rule.json --against runs/quick",
    "status": "lrtune status runs/quick --json",
    "report": "lrtune report runs/quick --images",
    "dashboard": "lrtune dashboard runs/quick --port 8080",
    "init": "lrtune init && lrtune search study.toml",
    "check-trainer": "lrtune check-trainer mypackage.train:train --widths 32,64",
    "doctor": "lrtune doctor --json",
}
_TRAINS = ("worker", "check-trainer")  # verbs that run a trainer in their process; it may need all threads


def application(words: Sequence[str] = ()) -> typer.Typer:
    """The application of the verb that `words` begin with, or of all verbs: `lrtune lr` shall not wait for the others.

    Nor does a list of all verbs wait for their imports: those that are not among `words` are described, and cannot run.

    Args:
        words: the command line after ``lrtune``; empty for all verbs with their flags.
    """
    app = typer.Typer(
        name="lrtune",
        help="Find the peak learning rate that a model of a given hidden size should be trained with.",
        epilog="Example: lrtune search && lrtune lr 256",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    for verb in words[:1] if words and words[0] in _VERBS else _VERBS:
        name = verb.replace("-", "_")
        if words and verb not in words:
            app.command(verb, help=_docstring(name))(lambda: None)
            continue
        function = getattr(import_module(f"lrtune.cli.{name}"), name)
        app.command(epilog=f"Example: {_VERBS[verb]}")(_with_groups(function))
    return app


def _docstring(name: str) -> str:
    """The docstring of a verb's function, from its compiled module, which is not run."""
    spec = find_spec(f"lrtune.cli.{name}")
    assert spec is not None and isinstance(spec.loader, InspectLoader)
    module = spec.loader.get_code(spec.name)
    functions = module.co_consts if module is not None else ()
    return next(str(each.co_consts[0]) for each in functions if isinstance(each, CodeType) and each.co_name == name)


def _with_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb as Typer reads it: each parameter that is a group becomes the group's flags."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(verb).parameters.items():
        group = parameter.annotation
        if isinstance(group, type) and dataclasses.is_dataclass(group):
            groups[name] = group
            parameters += [_parameter(field) for field in dataclasses.fields(group)]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        verb(**given)

    called.__name__, called.__doc__ = verb.__name__, verb.__doc__
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _parameter(field: "dataclasses.Field[Any]") -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=field.default, annotation=field.type)


def _version(wanted: bool) -> None:
    if wanted:
        from lrtune import __version__

        print(f"lrtune {__version__}")
        raise typer.Exit


def _common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; allowed anywhere.")] = False,
) -> None:
    if context.invoked_subcommand not in _TRAINS:
        # Our matrices are small: more threads would only busy-wait and take CPU time from the workers.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
