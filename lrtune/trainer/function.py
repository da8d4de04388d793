"""A function object as the trainer: for a notebook, a script, or a function that no worker can import by its name.

A worker in this process finds it by its target; other workers get it as text, pickled by cloudpickle.
"""

import base64
import hashlib
import inspect
import pickle
import sys
from collections.abc import Callable

from lrtune.errors import InputError
from lrtune.extras import import_extra
from lrtune.trainer.trial import Trainer

PREFIX = "function:"
_known: dict[str, Trainer] = {}  # of this process, by target


def target_of(function: Callable[..., object]) -> str:
    """The study's name for a trainer: ``module:function`` if a worker can import it, else ``function:NAME``."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    is_importable = module and module != "__main__" and getattr(sys.modules.get(module), name, None) is function
    return f"{module}:{name}" if is_importable else PREFIX + getattr(function, "__name__", type(function).__name__)


def register(function: Callable[..., object], *, target: str = "", source: str = "") -> str:
    """Make this process find the function by its target, which is returned; one of the same name replaces it."""
    target = target or target_of(function)
    is_many = getattr(function, "__lrtune_population__", False)
    _known[target] = Trainer(
        target=target,
        train=None if is_many else function,
        train_population=function if is_many else None,
        source=source or _source(function),
    )
    return target


def known(target: str) -> Trainer:
    """The function of this name.

    Raises:
        InputError: this process has no such function.
    """
    if target not in _known:
        name = target.removeprefix(PREFIX)
        raise InputError(
            f"trainer: {name!r} was given as a Python object; pass it to lrtune.run_search again, "
            "or write it to a module and name that"
        )
    return _known[target]


def packed(target: str) -> str:
    """A known function as text for workers in other processes.

    Raises:
        InputError: it cannot be pickled.
        MissingExtraError: cloudpickle is not installed.
    """
    cloudpickle = import_extra("cloudpickle", extra="notebook", purpose="a function as the trainer of other processes")
    trainer = known(target)
    try:
        content = cloudpickle.dumps((trainer.train or trainer.train_population, trainer.source))
    except Exception as error:
        raise InputError(
            f"trainer: cannot send {target.removeprefix(PREFIX)!r} to other processes: {error}; "
            'use engine="inline", or write it to a module'
        ) from error
    return base64.b64encode(content).decode("ascii")


def unpack(target: str, text: str) -> None:
    """Make a function known in this process. It runs code: the text must come from the search's own storage."""
    try:
        function, source = pickle.loads(base64.b64decode(text))
    except Exception as error:
        raise InputError(
            f"trainer: cannot read {target!r} from the storage: {type(error).__name__}: {error}"
        ) from error
    register(function, target=target, source=source)


def _source(function: Callable[..., object]) -> str:
    """A hash of its source; empty if unknown."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""
