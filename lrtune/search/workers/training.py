"""Trains the trials of one claim, splits them after errors or out-of-memory, and stores each record."""

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
        trainer: the trainer.
        begin: makes an attempt from a lease and a micro-batch size, None for whole batches.
        at_work: a context that keeps the leases of its attempts alive.

    Attributes:
        fits: how many members fit into memory, for groups that ran out of memory.
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
        """Train these trials of one width and store their records."""
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
                elif _is_interrupted(attempts):  # the trainer turned it into another error
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
            for attempt in attempts:
                attempt.declare(self.trainer)
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
        """Store the records after the trainer returned; it may have swallowed an interruption."""
        if _is_interrupted(attempts):
            self._hand_in_or_release(attempts)
            return
        for attempt in attempts:
            _end(attempt, *attempt.outcome())

    def _hand_in_or_release(self, attempts: Sequence[Attempt]) -> None:
        """After an interruption, store the records of ended trials and release the others."""
        for attempt in attempts:
            if attempt.has_ended:
                _end(attempt, *attempt.outcome())
            else:
                attempt.release()

    def _one_by_one(self, attempts: Sequence[Attempt]) -> None:
        """After an exception in a population, train each member alone: only those that raise again fail."""
        for attempt in attempts:
            if attempt.has_ended:
                _end(attempt, *attempt.outcome())
            else:
                self.train([attempt.lease], attempt.micro_batch)

    def _in_smaller_pieces(self, attempts: list[Attempt], error: BaseException) -> None:
        """After out-of-memory, halve the population, retry a single trial in micro-batches, then fail with advice."""
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
        print(f"trial {attempt.lease.trial}: result dropped; another worker has the trial", file=sys.stderr)


def _end_child(error: BaseException | None) -> NoReturn:
    """End a process that the trainer forked: only its parent stores records."""
    code = getattr(error, "code", None) or 0 if isinstance(error, SystemExit) else int(error is not None)
    if code == 1 and error is not None:
        traceback.print_exception(error)
    leave(code if isinstance(code, int) else 1)


def leave(code: int) -> NoReturn:
    """Flush the output, if the trainer has not closed it, and end this process at once."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def is_out_of_memory(error: BaseException) -> bool:
    """True for the out-of-memory errors of Python, torch and CUDA."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = "".join(traceback.format_exception_only(error)).lower()  # str(error) may raise
    return isinstance(error, RuntimeError) and any(sign in text for sign in _OUT_OF_MEMORY)


def _free_memory() -> None:
    """Release cached GPU memory, if torch is loaded."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def explain(error: BaseException) -> str:
    """The error as text for a record: one line for lrtune's errors, a traceback for others."""
    if isinstance(error, LrtuneError):
        return plain(redact(error))
    frames = traceback.format_exception(type(error), error, error.__traceback__)
    return plain(redact("".join(frames)))[-_LONGEST_WHY:]
