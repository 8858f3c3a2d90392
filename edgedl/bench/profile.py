"""Profiles asked for and shown: time by operator, and each node beside what bounds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from edgedl.bench.cells import show_ns
from edgedl.bench.roofline import Floor, all_bytes, floor, model_floor, net_ns, overhead_ns
from edgedl.bench.table import Table
from edgedl.devices import open_device
from edgedl.runtime.errors import EdgedlError, InputError, WorkerError, one_line
from edgedl.runtime.protocol import (
    Answer,
    Case,
    Failure,
    Limits,
    NodeProfile,
    Profile,
    ProfileRequest,
)
from edgedl.runtime.providers import short_name

TOP = 12
# Below the trace's resolution a node's time says nothing of its rate.
LEAST_NS = 1000.0


def profile_cases(
    cases: Sequence[Case], progress: Callable[[Case], None] = lambda case: None
) -> Iterator[Profile | Failure]:
    """Profile each case in a fresh process, one after the other."""
    for case in cases:
        progress(case)
        answer = _ask(case)
        assert isinstance(answer, Profile | Failure)
        yield answer


def _ask(case: Case) -> Answer:
    try:
        return open_device(case.device).run(ProfileRequest(case))
    except WorkerError as error:
        return Failure(error.message, error.hint, error.exit_code)


def decode_profiles(content: bytes, where: str = "the profiles") -> list[Profile]:
    """Profiles from the JSON lines that `encode_profiles` makes.

    Raises:
        InputError: They are none.
    """
    try:
        return [
            msgspec.json.decode(line, type=Profile) for line in content.splitlines() if line.strip()
        ]
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{where} is no profile of edgedl bench: {one_line(error)}",
            "write profiles with edgedl bench --profile --json FILE",
        ) from None


def encode_profiles(profiles: Sequence[Profile]) -> bytes:
    """Profiles as JSON lines, as the worker measured them."""
    return msgspec.json.Encoder().encode_lines(profiles)


def first_failure(
    cases: Sequence[Case], answers: Sequence[Profile | Failure]
) -> EdgedlError | None:
    """The first case that could not be profiled, as an error to end with."""
    for case, answer in zip(cases, answers, strict=True):
        if isinstance(answer, Failure):
            return answer.error(f"{case.name}: ")
    return None


def by_operator(profile: Profile) -> Table:
    """Time by operator, the most first."""
    overhead, total = overhead_ns(profile), _total(profile)
    operators: dict[str, list[NodeProfile]] = {}
    for node in profile.nodes:
        operators.setdefault(node.operator, []).append(node)
    rows = sorted(
        (
            (sum(net_ns(n, overhead) for n in nodes), name, nodes)
            for name, nodes in operators.items()
        ),
        reverse=True,
    )
    lines = tuple(
        (name, str(len(nodes)), _show_net(time), _percent(time, total), _places(nodes))
        for time, name, nodes in rows
    )
    headers = ("operator", "nodes", "time", "share", "provider")
    return Table(headers, lines, prose=("provider",))


def by_node(profile: Profile, top: int = TOP) -> Table:
    """The nodes that take the most time, each beside its floor, and the sum of all."""
    overhead, total = overhead_ns(profile), _total(profile)
    ranked = sorted(profile.nodes, key=lambda node: -net_ns(node, overhead))
    rows = [_row(node, net_ns(node, overhead), total, profile.limits) for node in ranked[:top]]
    if ranked[top:]:
        rest = sum(net_ns(node, overhead) for node in ranked[top:])
        more = f"{len(ranked[top:])} more"
        rows.append((more, "", _show_net(rest), _percent(rest, total), *[""] * 5))
    least = model_floor(profile)
    rows.append(
        (
            "untraced run", "", show_ns(profile.median_ns), "", "", "", "",
            show_ns(least) if least is not None else "unknown",
            _percent(least, profile.median_ns) if least is not None else "",
        )
    )  # fmt: skip
    return Table(_HEADERS, tuple(rows), tuple(_notes(profile)), prose=("operator",))


_HEADERS = (
    "node", "operator", "time", "share", "GB/s", "GOP/s", "bound by", "floor", "of the limit",
)  # fmt: skip


def _row(node: NodeProfile, time: float, total: float, limits: Limits | None) -> tuple[str, ...]:
    least = Floor(None) if limits is None else floor(node, limits)
    bound = (least.bound, "unknown" if least.ns is None else show_ns(least.ns))
    cells = (_shorten(node.name), node.operator, _show_net(time), _percent(time, total))
    if time < LEAST_NS:
        return (*cells, "", "", *bound, "")
    moved = all_bytes(node)
    return (
        *cells,
        "unknown" if moved is None else _rate(moved, least.bytes_ns, time),
        _rate(node.operations or 0, least.operations_ns, time),
        *bound,
        "unknown" if least.ns is None else _percent(least.ns, time) * bool(least.ns),
    )


def _rate(amount: int, least_ns: float | None, time: float) -> str:
    """Amount by nanoseconds, and its share of what the machine does at most, where known."""
    if not amount:
        return ""
    share = f" ({_percent(least_ns, time)})" if least_ns is not None else ""
    return f"{amount / time:.3g}{share}"


def _notes(profile: Profile) -> list[str]:
    overhead, limits = overhead_ns(profile), profile.limits
    traced = sum(node.traced_ns for node in profile.nodes)
    taken_off = f"{show_ns(overhead)} a node are taken off" if overhead else "nothing is taken off"
    notes = [
        f"{profile.runs} traced runs of {show_ns(traced)}, beside untraced ones of "
        f"{show_ns(profile.median_ns)}: {taken_off} for tracing"
    ]
    if limits is None:
        return [*notes, "no limits: they are of ONNX Runtime's own CPU provider"]
    threads = f"{limits.threads} thread{'s' * (limits.threads > 1)}"
    return [
        *notes,
        f"limits with {threads}: constants ({limits.weights_bytes:,} bytes) "
        f"{_giga(limits.weights)} GB/s, activations {_giga(limits.near)} GB/s, memory "
        f"{_giga(limits.memory)} GB/s; float32 {_giga(limits.float32)} and int8 "
        f"{_giga(limits.int8)} GOP/s",
        *_beaten(profile, limits),
        f"{profile.host.processor}, {profile.host.cpus} CPUs, onnxruntime "
        f"{profile.host.versions.get('onnxruntime', 'unknown')}",
    ]


def _beaten(profile: Profile, limits: Limits) -> list[str]:
    """That a limit can't be one."""
    overhead = overhead_ns(profile)
    beaten = [
        node.name
        for node in profile.nodes
        if (time := net_ns(node, overhead)) >= LEAST_NS
        and (floor(node, limits).ns or 0) > 1.1 * time
    ]
    if not beaten:
        return []
    return [
        f"{_shorten(beaten[0])} was faster than its limit, which was measured too low: "
        "profile again when nothing else runs here"
    ]


def title(profile: Profile) -> str:
    """Which case a profile is of."""
    case = profile.case
    sizes = "".join(f" {axis} {size}" for axis, size in case.sizes.items())
    return f"{Path(case.bundle).name} {case.variant}{sizes}"


def _total(profile: Profile) -> float:
    overhead = overhead_ns(profile)
    return sum(net_ns(node, overhead) for node in profile.nodes)


def _places(nodes: Sequence[NodeProfile]) -> str:
    return ", ".join(dict.fromkeys(short_name(n.provider) for n in nodes))


def _show_net(time: float) -> str:
    return show_ns(time) if time >= LEAST_NS else "< 1 us"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def _giga(rate: float) -> str:
    return f"{rate / 1e9:,.3g}" if rate < 1e12 else f"{rate / 1e9:,.0f}"


def _shorten(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"...{name[3 - most :]}"
