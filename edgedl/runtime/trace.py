"""ONNX Runtime's own trace of a session: which node ran where, on what, and how long.

The trace counts whole microseconds, and collecting a node's shapes is part of what it counts:
on a fast machine some 3 us a node. Whoever shows these times says so.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from edgedl.runtime.bundle import Bundle
from edgedl.runtime.engine import ENGINE_ERRORS
from edgedl.runtime.errors import EngineError, one_line
from edgedl.runtime.golden import Arrays
from edgedl.runtime.manifest import Variant
from edgedl.runtime.operations import Tensor
from edgedl.runtime.session import open_session
from edgedl.runtime.settings import Settings

_NODE = "_kernel_time"


class Arguments(Struct, frozen=True):
    """What an event of the trace says of its node; sizes are bytes, in decimal."""

    op_name: str = ""
    provider: str = ""
    node_index: str = ""
    parameter_size: str = "0"
    activation_size: str = "0"
    output_size: str = "0"
    input_type_shape: tuple[dict[str, tuple[int, ...]], ...] = ()
    output_type_shape: tuple[dict[str, tuple[int, ...]], ...] = ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The node's inputs; those that its kernel packed when it was loaded are left out."""
        return _tensors(self.input_type_shape)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The node's outputs."""
        return _tensors(self.output_type_shape)


def _tensors(told: Sequence[dict[str, tuple[int, ...]]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(kind, shape) for entry in told for kind, shape in entry.items())


class Event(Struct, frozen=True):
    """One line of the trace. `ts` and `dur` are microseconds."""

    cat: str
    name: str
    ts: int = 0
    dur: int = 0
    args: Arguments = Arguments()

    @property
    def node(self) -> tuple[str, str, str]:
        """What tells this node from the others: its name, operator and index."""
        return self.name.removesuffix(_NODE), self.args.op_name, self.args.node_index


@dataclass(frozen=True)
class Step:
    """One execution of a node; microseconds that no node of its own subgraph took."""

    event: Event
    own_us: int


class Traced:
    """A session that writes down what each node did; see `trace_session`."""

    def __init__(self, session: Any, where: str) -> None:
        self._session = session
        self._where = where

    def run(self, inputs: Arrays) -> None:
        """Run once.

        Raises:
            EngineError: ONNX Runtime failed.
        """
        try:
            self._session.run(None, inputs)
        except ENGINE_ERRORS as error:
            raise EngineError(f"{self._where} failed to run: {one_line(error)}") from error

    def read(self) -> list[list[Step]]:
        """End the trace: the nodes of each run, in the order they began."""
        content = Path(self._session.end_profiling()).read_bytes()
        return split_runs(msgspec.json.decode(content, type=list[Event]))


@contextmanager
def trace_session(
    bundle: Bundle,
    variant: Variant,
    device: str,
    settings: Settings,
    entries: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Traced]:
    """A variant's session with ONNX Runtime's profiler on; its file goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="edgedl-trace-", ignore_cleanup_errors=True) as folder:
        where, prefix = str(bundle.locate(variant.file)), str(Path(folder) / "trace")
        session = open_session(bundle.read(variant), device, settings, where, entries, prefix)
        yield Traced(session, where)


def split_runs(events: Sequence[Event]) -> list[list[Step]]:
    """The nodes of each run."""
    begun = sorted(e.ts for e in events if e.cat == "Session" and e.name == "model_run")
    runs: list[list[Step]] = [[] for _ in begun]
    nodes = [e for e in events if e.cat == "Node" and e.name.endswith(_NODE)]
    nodes.sort(key=lambda e: (e.ts, -e.dur))  # an outer node before its inner ones
    for event, own in zip(nodes, _own_times(nodes), strict=True):
        run = bisect_right(begun, event.ts) - 1
        if run >= 0:
            runs[run].append(Step(event, own))
    return runs


def _own_times(nodes: Sequence[Event]) -> list[int]:
    """Each node's duration less that of the nodes which ran inside it (If, Loop, Scan)."""
    own = [event.dur for event in nodes]
    around: list[int] = []
    for index, event in enumerate(nodes):
        while around and nodes[around[-1]].ts + nodes[around[-1]].dur <= event.ts:
            around.pop()
        if around and nodes[around[-1]].args.op_name in _WITH_SUBGRAPHS:
            own[around[-1]] -= event.dur
        around.append(index)
    return [max(0, duration) for duration in own]


_WITH_SUBGRAPHS = frozenset(("If", "Loop", "Scan", "BeamSearch", "GreedySearch", "Sampling"))
