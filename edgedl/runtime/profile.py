"""Where a case's time goes: time, bytes and operations of every node."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from msgspec import structs

from edgedl.runtime.bundle import Bundle, open_bundle
from edgedl.runtime.errors import EngineError, InputError
from edgedl.runtime.feeds import pick_inputs
from edgedl.runtime.golden import Arrays, read_golden
from edgedl.runtime.host import describe_host
from edgedl.runtime.limits import measure_limits
from edgedl.runtime.loops import collection_off, warm_up
from edgedl.runtime.manifest import Variant
from edgedl.runtime.modes import Loaded, load_variant
from edgedl.runtime.operations import OPERATIONS, arithmetic, count_operations, reread_bytes
from edgedl.runtime.protocol import Case, NodeProfile, Profile
from edgedl.runtime.providers import CPU, match_device
from edgedl.runtime.settings import Settings
from edgedl.runtime.trace import Event, Step, Traced, trace_session

Node = tuple[str, str, str]

BLOCKS = 10
MOST_EVENTS = 40_000  # some 30 MB of trace
# They hand their input on under another shape: nothing is read or written.
VIEWS = frozenset(("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size"))
# They read as much of their constants as they write.
LOOKUPS = frozenset(("Gather", "GatherElements", "GatherND"))


def profile(case: Case) -> Profile:
    """Trace a case beside untraced runs of it, and measure what the machine does at most.

    Raises:
        InputError: It is a subject, which has no nodes.
    """
    if case.subject:
        raise InputError(f"{case.subject} has no nodes to profile", "profile a variant")
    bundle = open_bundle(case.bundle)
    variant = bundle.manifest.variant(case.variant)
    inputs = pick_inputs(bundle, read_golden(bundle), case).inputs
    loaded = load_variant(structs.replace(case, mode="model"), inputs)
    settings = loaded.settings or Settings()
    whole = _see_constants(bundle, variant, case, settings, inputs)
    with trace_session(bundle, variant, case.device, settings) as traced:
        plain_ns, runs = _trace_beside(loaded, traced, inputs, case, len(whole))
    nodes = tuple(
        _node(node, steps, whole.get(node), len(runs)) for node, steps in runs_by_node(runs)
    )
    constants = sum(n.parameter_bytes or 0 for n in nodes)
    on_cpu = match_device(case.device).provider.name == CPU
    return Profile(
        case=case,
        host=describe_host(),
        settings=settings,
        runs=len(runs),
        median_ns=float(np.median(plain_ns)),
        nodes=nodes,
        limits=measure_limits(settings.threads, constants) if on_cpu else None,
    )


def _see_constants(
    bundle: Bundle, variant: Variant, case: Case, settings: Settings, inputs: Arrays
) -> dict[Node, list[Event]]:
    """Every node of one run with all its constants; none where that can't run.

    A kernel that packs its constants when it is loaded drops them from the trace, so sizes and
    shapes come from a session that packs nothing. Its times would be another kernel's.
    """
    unpacked = {"session.disable_prepacking": "1"}
    try:
        with trace_session(bundle, variant, case.device, settings, unpacked) as traced:
            traced.run(inputs)
            (steps,) = traced.read()
    except EngineError:
        return {}
    found: dict[Node, list[Event]] = {}
    for step in steps:
        found.setdefault(step.event.node, []).append(step.event)
    return found


def _trace_beside(
    loaded: Loaded, traced: Traced, inputs: Arrays, case: Case, nodes: int
) -> tuple[list[int], list[list[Step]]]:
    """Untraced runs' nanoseconds and traced runs' steps, both warmed up, blocks in turn."""
    warm_up(lambda: traced.run(inputs), 0)
    warm_up(loaded.run, case.warmup_s)
    per_block = _runs_per_block(min(_timed(loaded) for _ in range(5)), case, nodes)
    plain_ns: list[int] = []
    with collection_off():
        for _ in range(BLOCKS):
            # A block's first run finds the caches as the other session left them.
            for _ in range(per_block + 1):
                traced.run(inputs)
            loaded.run()
            plain_ns += [_timed(loaded) for _ in range(per_block)]
    runs = traced.read()[-BLOCKS * (per_block + 1) :]
    return plain_ns, [run for i, run in enumerate(runs) if i % (per_block + 1)]


def _timed(loaded: Loaded) -> int:
    begin = time.perf_counter_ns()
    loaded.run()
    return time.perf_counter_ns() - begin


def _runs_per_block(run_ns: int, case: Case, nodes: int) -> int:
    """As many as fill the case's least time, at least its least count, and a bounded trace."""
    wanted = max(case.least_s * 1e9 / max(run_ns, 1), case.least_count)
    bounded = min(wanted, MOST_EVENTS / max(nodes, 1), case.most_s * 1e9 / max(run_ns, 1))
    return max(1, round(bounded / BLOCKS))


def runs_by_node(runs: Sequence[Sequence[Step]]) -> list[tuple[Node, list[list[Step]]]]:
    """Each node's steps in every run, nodes in the order in which the first run met them."""
    found: dict[Node, list[list[Step]]] = {}
    for index, run in enumerate(runs):
        for step in run:
            if step.event.node not in found:
                found[step.event.node] = [[] for _ in runs]
            found[step.event.node][index].append(step)
    return list(found.items())


def _node(
    node: Node, runs: Sequence[Sequence[Step]], whole: Sequence[Event] | None, count: int
) -> NodeProfile:
    name, operator, _ = node
    events = [step.event for step in runs[-1]]
    seen = events if whole is None else whole
    sizes = [_bytes(event, whole is not None) for event in seen]
    constants = [constant for constant, _ in sizes]
    counted = [count_operations(operator, e.args.inputs, e.args.outputs) for e in seen]
    return NodeProfile(
        name=name,
        operator=operator,
        provider=next(steps[0].event.args.provider for steps in runs if steps),
        calls=sum(map(len, runs)) / count,
        traced_ns=1e3 * midmean([sum(step.own_us for step in steps) for steps in runs]),
        parameter_bytes=None if None in constants else sum(c or 0 for c in constants),
        moved_bytes=sum(moved for _, moved in sizes),
        operations=None if not counted or None in counted else sum(c or 0 for c in counted),
        arithmetic=arithmetic(operator, seen[0].args.inputs) if any(counted) else "",
        reread_bytes=sum(reread_bytes(operator, e.args.inputs, e.args.outputs) for e in seen),
    )


def _bytes(event: Event, whole: bool) -> tuple[int | None, int]:
    """Constants a node reads (None where the trace may lack some), and activations it moves.

    What another provider than the CPU's compiles keeps its constants inside.
    """
    arguments = event.args
    if arguments.op_name in VIEWS:
        return 0, 0
    constants, read, written = (
        int(size)
        for size in (arguments.parameter_size, arguments.activation_size, arguments.output_size)
    )
    if arguments.op_name in LOOKUPS:
        return min(constants, written), min(read, 2 * written) + written
    known = arguments.provider == CPU and (whole or arguments.op_name not in OPERATIONS)
    return constants if known else None, read + written


def midmean(values: Sequence[float]) -> float:
    """The mean of the middle half.

    The trace counts whole microseconds: a median would be whole too, and a mean would follow
    the few runs that something interrupted. Source: Tukey, Exploratory Data Analysis, 1977.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())
