"""Ctrl-C and SIGTERM as requests: the first asks to stop, the second to stop at once."""

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """A context that counts the signals instead of ending the process. Outside the main thread it does nothing."""

    def __init__(self) -> None:
        self.count = 0
        self.signum: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._former[number] = signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.signum = self.signum or number

    @property
    def is_asked(self) -> bool:
        """Whether a signal arrived."""
        return self.count > 0

    @property
    def is_now(self) -> bool:
        """Whether a second signal arrived."""
        return self.count > 1

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)
