"""What a launch's health means for its timings: reasons that make it invalid, and cautions.

| fault | invalid | caution |
| --- | --- | --- |
| a Raspberry Pi's bits | one live at any time, or set since boot meanwhile | set before |
| cooling by the kernel | at work at any time | |
| an x86 processor's throttling | it happened meanwhile | |
| clock of a busy CPU | it fell by a tenth, or is a tenth under what it keeps | governor, limit |
| steal | 5 % and more of the time the CPUs were wanted | 1 % and more |
| swap | 1 MiB and more, or any that this process waited for | any |
| waiting for a CPU, or for a quota | | 2 % and more of a launch |

A tenth of the clock is a tenth of p50, more than most differences one benches for. Steal hits
few of the short runs and all of the long ones: from 5 % on, p95 may be the neighbour's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgedl.runtime.health import RASPBERRY_PI_BITS, Cpu, Health, Report, Ticks

KEPT_SHARE = 0.9
STEAL_INVALID, STEAL_CAUTION = 0.05, 0.01
# A tick is 10 ms, so that a few are most of a launch of 0.1 s: less than that tells nothing.
STEAL_LEAST_TICKS = 10
SWAP_BYTES = 1 << 20
WAITED_CAUTION = 0.02


def reasons_invalid(reports: Sequence[Report]) -> list[str]:
    """Why the timings of one case's launches can't be trusted; empty where nothing says so.

    Each begins with what kind of fault it is: throttling, frequency, steal or swap.
    """
    reasons = []
    for kind, check in _CHECKS:
        found = [said for report in reports if (said := check(report))]
        if found:
            some = f" ({len(found)} of {len(reports)} launches)" if len(reports) > 1 else ""
            reasons.append(f"{kind}: {found[0]}{some}")
    share = _stolen_share(reports)
    if share is not None and share >= STEAL_INVALID:
        reasons.append(f"steal: a hypervisor kept {share:.0%} of the CPU time")
    return reasons


def kinds(reasons: Sequence[str]) -> list[str]:
    """The kinds of fault among reasons, for a cell of a table."""
    return list(dict.fromkeys(reason.partition(":")[0] for reason in reasons))


def _live_bits(report: Report) -> str:
    return bit_names(report.seen.bits or 0)


def _new_bits(report: Report) -> str:
    """Bits set meanwhile that no look caught live."""
    new = (report.seen.new_bits >> 16) & ~(report.seen.bits or 0)
    return f"{said} for a moment" if (said := bit_names(new)) else ""


def _alarm(report: Report) -> str:
    """The same board's alarm, where its bits don't tell already."""
    seen = report.seen
    return "under-voltage" if seen.under_voltage and not (seen.bits or 0) & 0x10001 else ""


def _throttle_events(report: Report) -> str:
    return "the processor slowed down for heat" if report.grown.throttle_events else ""


def _cooling(report: Report) -> str:
    return "the kernel held the processor back for heat" if report.seen.cooling else ""


def _fallen_clock(report: Report) -> str:
    clocks = report.seen.clocks
    worst = min(clocks, key=lambda number: clocks[number].kept, default=None)
    if worst is None or clocks[worst].kept >= KEPT_SHARE:
        return ""
    clock = clocks[worst]
    return f"the clock of CPU {worst} fell to {clock.kept:.0%} of {ghz(clock.high_khz)}"


def _capped_clock(report: Report) -> str:
    """A clock that was low all along: throttled before it was first looked at."""
    for cpu in report.before.cpus:
        clock, kept = report.seen.clocks.get(cpu.number), _kept_khz(cpu, report.before)
        if clock is not None and kept is not None and clock.high_khz < KEPT_SHARE * kept:
            return f"CPU {cpu.number} ran at {ghz(clock.high_khz)}, which can keep {ghz(kept)}"
    return ""


def _kept_khz(cpu: Cpu, health: Health) -> int | None:
    """What a busy CPU can be expected to keep; None where nothing tells.

    The governor must want it: only `performance` always does. A clock that boosts may go to
    its highest for a while and on a core or two, and keeps no more than its base.
    """
    if cpu.governor != "performance" or health.boosts is None:
        return None
    limits = [cpu.base_khz, cpu.most_khz] if health.boosts else [cpu.most_khz]
    known = [khz for khz in limits if khz is not None]
    return min(known) if len(known) == len(limits) else None


def _swap(report: Report) -> str:
    moved = report.grown.swapped_bytes or 0
    if moved >= SWAP_BYTES or (moved and report.grown.major_faults):
        return f"the machine moved {_mebibytes(moved)}"
    return ""


_CHECKS: tuple[tuple[str, Callable[[Report], str]], ...] = (
    ("throttling", _live_bits),
    ("throttling", _new_bits),
    ("throttling", _alarm),
    ("throttling", _cooling),
    ("throttling", _throttle_events),
    ("frequency", _fallen_clock),
    ("frequency", _capped_clock),
    ("swap", _swap),
)


def cautions(reports: Sequence[Report]) -> list[str]:
    """What makes timings less sure without making them invalid, each once."""
    found = [caution for report in reports for caution in _cautions(report)]
    share = _stolen_share(reports)
    if share is not None and STEAL_CAUTION <= share < STEAL_INVALID:
        found.append(f"steal: a hypervisor kept {share:.1%} of the CPU time")
    held = max((_share(report.grown.held_ns, report) for report in reports), default=0.0)
    if held >= WAITED_CAUTION:
        found.append(f"a CPU quota held a launch back for {held:.0%} of its time")
    waited = max((_share(report.grown.waited_ns, report) for report in reports), default=0.0)
    if waited >= WAITED_CAUTION:
        found.append(
            f"something else runs here: a launch stood in line for a CPU {waited:.0%} of its time"
        )
    return list(dict.fromkeys(found))


def _cautions(report: Report) -> list[str]:
    before = report.before
    found = []
    for governor in sorted({cpu.governor for cpu in before.cpus if cpu.governor}):
        if governor != "performance":
            found.append(f"governor {governor}: the clock follows the load")
    limits = {
        f"the clock is limited to {ghz(cpu.most_khz)} of {ghz(cpu.hardware_khz)}"
        for cpu in before.cpus
        if cpu.most_khz and cpu.hardware_khz and cpu.most_khz < KEPT_SHARE * cpu.hardware_khz
    }
    found += sorted(limits)
    since_boot = bit_names((before.throttled or 0) >> 16)
    if since_boot:
        found.append(f"since boot, before this: {since_boot}")
    if any(cpu.khz for cpu in before.cpus) and not report.seen.clocks:
        found.append("no CPU was busy for long enough to judge its clock")
    if report.grown.swapped_bytes and not _swap(report):
        found.append(f"swap: the machine moved {_mebibytes(report.grown.swapped_bytes)}")
    return found


def unknowns(report: Report) -> list[str]:
    """What this machine doesn't tell, by the names that notes and docs use."""
    health = report.before
    throttling = (health.throttled, health.under_voltage, health.cooling, health.throttle_events)
    told = {
        "governor": any(cpu.governor for cpu in health.cpus),
        "frequency": any(cpu.khz for cpu in health.cpus),
        "temperature": health.temperature is not None,
        "throttling": any(fact is not None for fact in throttling),
        "steal": report.grown.ticks is not None,
        "swap": report.grown.swapped_bytes is not None,
    }
    return [name for name, known in told.items() if not known]


def describe_health(reports: Sequence[Report]) -> str:
    """One machine's governor, highest temperature and what is unknown, as a note says it."""
    if not reports:
        return "health: unknown"
    governors = sorted({c.governor for r in reports for c in r.before.cpus if c.governor})
    said = [f"governor {' and '.join(governors)}"] if governors else []
    hottest = max((r.seen.hottest for r in reports if r.seen.hottest is not None), default=None)
    if hottest is not None:
        said.append(f"at most {hottest:.0f} °C")
    lacking = dict.fromkeys(name for report in reports for name in unknowns(report))
    return "; ".join([*said, f"{', '.join(lacking)}: unknown"] if lacking else said)


def _stolen_share(reports: Sequence[Report]) -> float | None:
    """Of the time that the CPUs were wanted, over all launches; None where it isn't known."""
    ticks = [report.grown.ticks for report in reports if report.grown.ticks is not None]
    total = sum(ticks, Ticks(0, 0, 0))
    if not ticks or total.stolen < STEAL_LEAST_TICKS:
        return 0.0 if ticks else None
    return total.stolen / (total.busy + total.stolen)


def _share(part_ns: int | None, report: Report) -> float:
    return (part_ns or 0) / report.elapsed_ns if report.elapsed_ns else 0.0


def bit_names(bits: int) -> str:
    """The live ones of `RASPBERRY_PI_BITS` that are set, in words."""
    return ", ".join(name for bit, name in RASPBERRY_PI_BITS.items() if bits >> bit & 1)


def ghz(khz: int) -> str:
    """A clock frequency."""
    return f"{khz / 1e6:.3g} GHz"


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.2g} MiB"
