"""How an output's parity reads in a cell or a phrase."""

from __future__ import annotations

from collections.abc import Sequence

from edgedl.runtime.manifest import OutputParity


def show_noise(output: OutputParity) -> str:
    """The SQNR; without noise there is none, and classes that flipped have none either."""
    if output.sqnr_db is not None:
        return f"{output.sqnr_db:.1f} dB"
    return "-" if output.flips else "identical"


def show_least_noise(outputs: Sequence[OutputParity]) -> str:
    """The least SQNR of several outputs."""
    noise = [o.sqnr_db for o in outputs if o.sqnr_db is not None]
    if noise:
        return f"{min(noise):.0f} dB"
    return "-" if any(o.flips for o in outputs) else "identical"


def show_flips(output: OutputParity) -> str:
    """How many, how many of them over the bound, and the largest margin that flipped."""
    if not output.positions:
        return "-"
    if not output.flips:
        return "0"
    clear = f", {output.clear_flips} clear" if output.clear_flips else ""
    margin = f" (<= {output.worst_flip:.2g})" if output.worst_flip else ""
    return f"{output.flips}{clear}{margin}"


def show_text(output: OutputParity) -> str:
    """How long greedy text is the source's."""
    if output.diverged_at is None:
        return f"the same text for {output.text_steps} tokens"
    margin = "" if output.diverged_margin is None else f" (margin {output.diverged_margin:.2g})"
    return f"another text from token {output.diverged_at} of {output.text_steps}{margin}"


def show_sequences(output: OutputParity) -> str:
    """What was proved of a stateful model beyond calls and fed-back steps; empty for none."""
    facts = []
    if output.local_max_abs is not None:
        noise = "" if output.local_sqnr_db is None else f" ({output.local_sqnr_db:.1f} dB)"
        facts.append(f"single steps {output.local_max_abs:.2g}{noise}")
    if output.chunks_max_abs is not None:
        facts.append(f"in parts {output.chunks_max_abs:.2g}")
    if output.text_steps:
        facts.append(show_text(output))
    return ", ".join(facts)
