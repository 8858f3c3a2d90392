"""What a process is before it has imported anything; only the standard library is needed."""

from __future__ import annotations


def peak_resident_bytes() -> int | None:
    """This process's own peak resident set; None where the system doesn't tell.

    From VmHWM, not getrusage: ru_maxrss starts at the peak of the process that
    spawned this one.
    """
    try:
        with open("/proc/self/status", errors="replace") as status:
            lines = status.read().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
