"""The worker: the only process that measures. Requests on stdin, one JSON line each.

    python -m edgedl.runtime.worker < requests.jsonl > answers.jsonl

A request is a `Case` (measure one variant), a `ParityRequest` (verify a bundle's hashes and
compare its variants with the golden vectors), a `HostRequest` (what machine is this), a
`ProfileRequest` (where a case's time goes) or a `PlacementRequest` (which node runs where). Every
answer is a `Measurement`, a `ParityAnswer`, a `HostAnswer`, a `Profile`, a `PlacementAnswer` or
a `Failure`; see `edgedl.runtime.protocol`. A worker process measures one launch: whoever wants
repetition starts several.
"""

from __future__ import annotations

import time

from edgedl.runtime.start import peak_resident_bytes

# An empty process: nothing but the interpreter has been imported.
_BORN_NS, _EMPTY = time.perf_counter_ns(), peak_resident_bytes()

import os
import sys
from importlib import import_module

import msgspec

from edgedl.runtime.bundle import Bundle  # noqa: F401 - the part of an app's import without engine

_OWN_IMPORT_NS = time.perf_counter_ns() - _BORN_NS

from edgedl.runtime.errors import EdgedlError, one_line
from edgedl.runtime.host import describe_host
from edgedl.runtime.protocol import (
    Answer,
    Case,
    Failure,
    HostAnswer,
    HostRequest,
    Measurement,
    PlacementAnswer,
    PlacementRequest,
    Profile,
    ProfileRequest,
    Request,
)


def answer(request: Request) -> Answer:
    """Carry out one request."""
    try:
        if isinstance(request, Case):
            return launch(request)
        if isinstance(request, HostRequest):
            return describe(request)
        if isinstance(request, ProfileRequest | PlacementRequest):
            return trace(request)
        from edgedl.runtime.device_parity import compare

        return compare(request)
    except EdgedlError as error:
        return Failure(error.message, error.hint, error.exit_code)
    except MemoryError as error:
        return Failure(f"out of memory: {one_line(error)}", "try a smaller batch or size", 1)


def launch(case: Case) -> Measurement:
    """Import what an app imports, timed and before anything else, and measure."""
    begin = time.perf_counter_ns()
    if not case.subject:
        import_module("edgedl.runtime.session")
    import_ns = _OWN_IMPORT_NS + time.perf_counter_ns() - begin
    from edgedl.runtime.measure import measure

    return measure(case, import_ns, _EMPTY)


def trace(request: ProfileRequest | PlacementRequest) -> Profile | PlacementAnswer:
    """Look at single nodes, which nothing else that is measured may wait for."""
    if isinstance(request, PlacementRequest):
        from edgedl.runtime.placed import locate_nodes

        return locate_nodes(request)
    from edgedl.runtime.profile import profile

    return profile(request.case)


def describe(request: HostRequest) -> HostAnswer:
    """The machine, once it is known to have the device's provider."""
    from edgedl.runtime.providers import resolve_provider

    resolve_provider(request.device)
    return HostAnswer(request.device, describe_host())


def main() -> None:
    """Answer every request on stdin until it ends."""
    # Answers have a descriptor of their own: a framework that prints must not mix with them.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        encoder = msgspec.json.Encoder()
        decoder = msgspec.json.Decoder(Request)
        for line in sys.stdin.buffer:
            if line.strip():
                answers.write(encoder.encode(answer(decoder.decode(line))) + b"\n")
                answers.flush()


if __name__ == "__main__":
    main()
