"""Frameworks talk on file descriptors 1 and 2; results and errors of ours go there."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

VERBOSE = "EDGEDL_VERBOSE"


@contextmanager
def quiet() -> Iterator[None]:
    """Swallow what native and Python code prints, warns and logs inside the block.

    Set the environment variable EDGEDL_VERBOSE=1 to see it. Exceptions pass.
    """
    if os.environ.get(VERBOSE, "0") not in ("", "0"):
        yield
        return
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        with suppress(ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        os.close(saved[0])
        os.close(saved[1])
        logging.disable(disabled)
