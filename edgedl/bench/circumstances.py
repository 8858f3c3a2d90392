"""When, where and how something was measured, in words; and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.bench.findings import Findings
from edgedl.bench.plan import Row
from edgedl.runtime.health_verdict import cautions, describe_health
from edgedl.runtime.host import Host


def circumstances(findings: Findings) -> dict[str, Sequence[str]]:
    """Lines by what they are about; what there is nothing to say of is left out."""
    rows = findings.rows
    said: dict[str, Sequence[str]] = {
        **_machines(findings),
        "Settings": _settings(rows),
        "Measured": _measured(rows),
        "Health": _health(rows),
        "Cautions": cautions([report for row in rows for report in row.health]),
    }
    return {name: lines for name, lines in said.items() if lines}


def troubles(rows: Sequence[Row]) -> list[str]:
    """Rows that failed, answered wrongly or can't be trusted, a line each."""
    said = []
    if any(row.interrupted for row in rows):
        said.append("interrupted: not every launch was done")
    for row in rows:
        if row.failure is not None:
            said.append(f"{row.case.name} failed: {row.failure.message}")
        said += [f"{row.case.name} answers wrongly: {why}" for why in row.wrong_answers()[:1]]
        said += [f"{row.case.name} is invalid: {why}" for why in row.invalid]
    return list(dict.fromkeys(said))


def _machines(findings: Findings) -> dict[str, Sequence[str]]:
    """Every machine that launched something, and its versions."""
    launches = [(row.case.device, m.host) for row in findings.rows for m in row.measurements]
    launches += [(profile.case.device, profile.host) for profile in findings.profiles]
    hosts: dict[str, list[str]] = {}
    versions: dict[str, list[str]] = {}
    for device, host in launches:
        hosts.setdefault(_machine(host), []).append(device)
        versions.setdefault(_versions(host), []).append(device)
    return {
        "Machine": [_with_devices(what, of, len(hosts)) for what, of in hosts.items()],
        "Versions": [_with_devices(what, of, len(versions)) for what, of in versions.items()],
    }


def _with_devices(what: str, devices: Sequence[str], kinds: int) -> str:
    return what if kinds == 1 else f"{', '.join(dict.fromkeys(devices))}: {what}"


def _machine(host: Host) -> str:
    facts = [
        host.processor,
        f"{host.cpus} CPUs",
        host.machine,
        f"{host.memory / 2**30:.0f} GiB",
        host.system,
    ]
    return ", ".join([*facts, *([" ".join(host.features)] if host.features else [])])


def _versions(host: Host) -> str:
    versions = [f"{name} {version}" for name, version in host.versions.items()]
    return ", ".join([f"Python {host.python}", *versions])


def _settings(rows: Sequence[Row]) -> list[str]:
    """What sessions were opened with, each combination once."""
    found = [m.settings for row in rows for m in row.measurements if m.settings is not None]
    switch = {True: "on", False: "off", None: "default"}
    return list(
        dict.fromkeys(
            f"{s.threads} thread{'s' * (s.threads != 1)}, spinning {switch[s.spinning]}, "
            f"arena {switch[s.arena]}"
            for s in found
        )
    )


def _measured(rows: Sequence[Row]) -> list[str]:
    """How much: launches, least time, samples."""
    timed = [row for row in rows if row.measurements]
    if not timed:
        return []
    launches = sorted({len(row.measurements) for row in timed})
    seconds = sorted({row.case.sustained_s or row.case.least_s for row in timed})
    samples = sum(len(m.samples_ns) for row in timed for m in row.measurements)
    return [
        f"{len(rows)} case{'s' * (len(rows) > 1)}, {_launches(launches)}; at least "
        f"{_range(seconds)} s a launch; {samples:,} samples"
    ]


def _launches(counts: Sequence[int]) -> str:
    if counts == [1]:
        return "one launch of each"
    return f"{_range(counts)} launches of each in fresh processes, interleaved"


def _range(values: Sequence[float]) -> str:
    ends = dict.fromkeys((values[0], values[-1]))
    return " to ".join(f"{value:g}" for value in ends)


def _health(rows: Sequence[Row]) -> list[str]:
    reports = [report for row in rows for report in row.health]
    return [describe_health(reports)] if any(row.measurements for row in rows) else []
