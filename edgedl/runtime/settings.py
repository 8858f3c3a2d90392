"""How ONNX Runtime runs a variant: threads, spinning, memory arena."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, structs

from edgedl.runtime.errors import InputError
from edgedl.runtime.host import usable_cpus

# ONNX Runtime starts them one by one: thousands take minutes at each load.
MOST_THREADS = 1024


class Settings(Struct, frozen=True):
    """What a session is opened with; None takes the default. See `resolved`.

    `threads` work within an operator. `spinning` lets idle ones burn their core while they
    wait, which answers sooner and leaves less for everything else. `arena` keeps freed memory
    for the next run.
    """

    threads: Annotated[int, Meta(ge=1, le=MOST_THREADS)] | None = None
    spinning: bool | None = None
    arena: bool | None = None

    def __str__(self) -> str:
        threads = "all CPUs" if self.threads is None else f"{self.threads} thread"
        if self.threads not in (None, 1):
            threads += f"s, spinning {'on' if self.spinning else 'off'}"
        return f"{threads}, arena {'off' if self.arena is False else 'on'}"

    def resolved(self) -> Settings:
        """The same, every default filled in.

        Threads are the CPUs this process may use (affinity and cgroup quota). Spinning is
        off: an app that lives long shares its machine.

        Raises:
            InputError: `threads` is no number of threads.
        """
        threads = self.threads
        if threads is not None and (type(threads) is not int or not 1 <= threads <= MOST_THREADS):
            raise InputError(f"threads is {threads!r}; it is a number from 1 to {MOST_THREADS}")
        return Settings(
            threads=threads or min(usable_cpus(), MOST_THREADS),
            spinning=bool(self.spinning),
            arena=self.arena is not False,
        )

    def over(self, others: Settings) -> Settings:
        """The same, what is None taken from others."""
        mine = {name: getattr(self, name) for name in Settings.__struct_fields__}
        given = {name: value for name, value in mine.items() if value is not None}
        return structs.replace(others, **given)
