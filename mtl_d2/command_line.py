"""How a tool begins and ends: Ctrl-C is no traceback, and what a user can mend is a line."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn


def end_imports_quietly() -> None:
    """Ctrl-C while modules are imported, for seconds, ends the process without more; to be called before them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_tool(main: Callable[[], int], expected: tuple[type[Exception], ...]) -> NoReturn:
    """Runs a tool and ends the process.

    Args:
        main: gives the exit status; SIGTERM and Ctrl-C interrupt it, which is 130.
        expected: errors that a user can mend; of one, 2.
    """
    for word in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs do not hear the second by themselves
        signal.signal(word, signal.default_int_handler)
    warnings.filterwarnings("ignore", message="torch.meshgrid")  # detectron2's, of torch's future
    try:
        sys.exit(main())
    except expected as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
