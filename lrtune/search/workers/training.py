"""Has the trials of one claim trained, in as many pieces as memory and errors ask for, and hands in how each ended."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, NoReturn

from lrtune.errors import LrtuneError, RunFailedError, TrainerFailedError, plain, redact
from lrtune.search.workers.attempt import Attempt
from lrtune.search.workers.leases import Lease
from lrtune.trainer.trial import Interrupted, Trainer

_LONGEST_WHY = 6000
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


class Training:
    """Trains with one trainer.

    Args:
        trainer: what trains.
        begin: makes an attempt of a lease, in micro-batches of a size or with whole batches.
        at_work: a context in which the leases of some attempts are kept alive.

    Attributes:
        fits: how many members at once fit into memory, for groups in which more did not.
    """

    def __init__(
        self,
        trainer: Trainer,
        begin: Callable[[Lease, int | None], Attempt],
        at_work: Callable[[list[Attempt]], AbstractContextManager[None]],
    ) -> None:
        self.trainer, self.begin, self.at_work = trainer, begin, at_work
        self.fits: dict[str, int] = {}

    def train(self, leases: Sequence[Lease], micro_batch: int | None = None) -> None:
        """Train these trials, of one width, and hand in their records."""
        self._train([self.begin(lease, micro_batch) for lease in leases])

    def _train(self, attempts: list[Attempt]) -> None:
        with self.at_work(attempts):
            try:
                self._call(attempts)
            except Interrupted:
                self._hand_in_or_release(attempts)
            except TrainerFailedError as error:
                _end(attempts[0], "failed", redact(error))
            except RunFailedError:
                raise
            except BaseException as error:
                if isinstance(error, SystemExit) and error.code in (None, 0):
                    self._hand_in(attempts)
                elif _is_interrupted(attempts):  # and the trainer made another error of it
                    self._hand_in_or_release(attempts)
                elif is_out_of_memory(error):
                    self._in_smaller_pieces(attempts, error)
                elif len(attempts) > 1:
                    self._one_by_one(attempts)
                else:
                    _end(attempts[0], "failed", explain(error))
            else:
                self._hand_in(attempts)

    def _call(self, attempts: Sequence[Attempt]) -> None:
        process = os.getpid()
        try:
            if self.trainer.train is not None and len(attempts) == 1:
                self.trainer.train(attempts[0].trial)
                return
            assert self.trainer.train_population is not None
            for attempt in attempts:
                attempt.members = len(attempts)
            self.trainer.train_population([attempt.trial for attempt in attempts])
        finally:
            if os.getpid() != process:
                _end_child(sys.exc_info()[1])

    def _hand_in(self, attempts: Sequence[Attempt]) -> None:
        """Of trials whose trainer returned; one that swallowed an interruption is taken for interrupted."""
        if _is_interrupted(attempts):
            self._hand_in_or_release(attempts)
            return
        for attempt in attempts:
            _end(attempt, *attempt.outcome())

    def _hand_in_or_release(self, attempts: Sequence[Attempt]) -> None:
        """Of interrupted trials, those that had ended are handed in; the others go back."""
        for attempt in attempts:
            if attempt.has_ended:
                _end(attempt, *attempt.outcome())
            else:
                attempt.release()

    def _one_by_one(self, attempts: Sequence[Attempt]) -> None:
        """After an exception in a population: it fails the members that raise it alone too, and no others."""
        for attempt in attempts:
            if attempt.has_ended:
                _end(attempt, *attempt.outcome())
            else:
                self.train([attempt.lease], attempt.micro_batch)

    def _in_smaller_pieces(self, attempts: list[Attempt], error: BaseException) -> None:
        """Out of memory: half the population; a single trial once more in micro-batches; then failed with advice."""
        if len(attempts) > 1:
            print(f"out of memory with {len(attempts)} members at once; trying halves", file=sys.stderr)
            half = len(attempts) // 2
            self.fits[attempts[0].lease.peers] = half
            for part in (attempts[:half], attempts[half:]):
                self.train([attempt.lease for attempt in part], part[0].micro_batch)
            return
        (attempt,) = attempts
        batch = attempt.facts.batch_size
        if attempt.micro_batch is None and batch is not None and batch > 1:
            smaller = max(1, batch // 4)
            print(f"trial {attempt.lease.trial}: out of memory; trying micro-batches of {smaller}", file=sys.stderr)
            _free_memory()
            self._train([attempt.start_over(smaller)])
            return
        tried = (
            f"also in micro-batches of {attempt.micro_batch}" if attempt.micro_batch else "with the whole batch at once"
        )
        advice = f"out of memory {tried}; use fewer workers, a smaller batch or a smaller hidden size"
        _end(attempt, "failed", f"{advice}\n{explain(error)}")


def _is_interrupted(attempts: Sequence[Attempt]) -> bool:
    return any(attempt.is_interrupted for attempt in attempts)


def _end(attempt: Attempt, status: Any, why: str) -> None:
    if not attempt.is_lost and not attempt.finish(status, why):
        print(f"trial {attempt.lease.trial} was given to another worker; its result here is dropped", file=sys.stderr)


def _end_child(error: BaseException | None) -> NoReturn:
    """End a process that the trainer forked: only its parent hands in."""
    code = getattr(error, "code", None) or 0 if isinstance(error, SystemExit) else int(error is not None)
    if code == 1 and error is not None:
        traceback.print_exception(error)
    leave(code if isinstance(code, int) else 1)


def leave(code: int) -> NoReturn:
    """End this process at once, with what it printed, where the trainer has left it a place to print to."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def is_out_of_memory(error: BaseException) -> bool:
    """True for Python's, torch's and CUDA's ways of saying that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = "".join(traceback.format_exception_only(error)).lower()  # str(error) may raise
    return isinstance(error, RuntimeError) and any(sign in text for sign in _OUT_OF_MEMORY)


def _free_memory() -> None:
    """Give cached GPU memory back, where torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def explain(error: BaseException) -> str:
    """The error for a record: one line for our own, a traceback from the trainer on for others."""
    if isinstance(error, LrtuneError):
        return plain(redact(error))
    frames = traceback.format_exception(type(error), error, error.__traceback__)
    return plain(redact("".join(frames)))[-_LONGEST_WHY:]
