"""The operator profile: where a run's time goes, and how far each node is from the limit."""

from __future__ import annotations

from edgedl.bench.page.drawing import hue
from edgedl.bench.page.markup import Child, Markup, element
from edgedl.bench.page.tables import draw_table
from edgedl.bench.profile import by_node, by_operator, title
from edgedl.bench.roofline import net_ns, overhead_ns
from edgedl.runtime.protocol import Profile

METERS = ("share", "of the limit")


def draw_profile(profile: Profile) -> Markup:
    """One case's profile: a bar, the operators, the nodes."""
    name = title(profile)
    return element(
        "section",
        element("h3", name),
        _bar(shares(profile)),
        element(
            "div",
            draw_table(by_operator(profile), f"{name}: time by operator", METERS),
            draw_table(by_node(profile), f"{name}: the nodes that take the most time", METERS),
            class_="pair",
        ),
        class_="profile",
    )


def shares(profile: Profile) -> dict[str, float]:
    """Each operator's share of all nodes' time, the largest first."""
    overhead = overhead_ns(profile)
    times: dict[str, float] = {}
    for node in profile.nodes:
        times[node.operator] = times.get(node.operator, 0.0) + net_ns(node, overhead)
    total = sum(times.values()) or 1.0
    ordered = sorted(times.items(), key=lambda item: -item[1])
    return {operator: time / total for operator, time in ordered}


def _bar(parts: dict[str, float]) -> Markup:
    """All operators in one bar, each as wide as its share."""
    drawn: list[Child] = [
        element(
            "span",
            f"{operator} {share:.0%}" if share >= 0.08 else None,
            class_=f"part {hue(i)}",
            style=f"width:{100 * share:.2f}%",
            title=f"{operator}: {share:.1%}",
        )
        for i, (operator, share) in enumerate(parts.items())
        if share >= 0.001
    ]
    said = ", ".join(f"{operator} {share:.0%}" for operator, share in parts.items())
    return element("div", drawn, class_="bar", role="img", aria_label=f"Time by operator: {said}")
