"""How a process is asked to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


class Ending:
    """What signals ask for: the first one to end, a second one to end at once.

    Attributes:
        asked: set by the first signal.
        at_once: called before the process ends at once.
    """

    def __init__(self, *, led: bool = False) -> None:
        """Listen to SIGTERM and SIGINT.

        Args:
            led: whether a parent process hears the signals. Then only SIGTERM counts, however often it comes: a
                terminal sends SIGINT to the parent too, a service manager SIGTERM to all of them.
        """
        self.asked = asyncio.Event()
        self.at_once: list[Callable[[], None]] = []
        self._led = led
        for number in (signal.SIGTERM,) if led else (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.asked.is_set() and not self._led:
            for act in self.at_once:
                act()
            os._exit(1)
        self.asked.set()
