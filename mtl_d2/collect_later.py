"""Importing this module before others puts garbage collection off; ``as_ever`` ends that when they are imported.

Imports make hundreds of thousands of objects that stay. Looking through them for garbage again and again takes a fifth
of their time.
"""

import gc

gc.disable()


def as_ever() -> None:
    """Collects garbage from now on, but not among what is there: processes that are forked share its memory."""
    gc.freeze()
    gc.enable()
