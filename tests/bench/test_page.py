"""The page: plots made from the samples, nothing fetched, nothing run, nothing taken as markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgedl.bench.compare import compare_run
from edgedl.bench.findings import Findings, read_manifests
from edgedl.bench.page import render
from edgedl.bench.page.drawing import Box
from edgedl.bench.page.labels import Point, place_labels
from edgedl.bench.page.record import record_of, thin
from edgedl.bench.plan import Row, Side, decode_rows, encode_rows
from edgedl.runtime.errors import InputError
from edgedl.runtime.manifest import Manifest, OutputParity, Quality
from edgedl.runtime.protocol import Case, Failure, OpenLoop, Sustained, Window
from tests.bench.measurements import WRONG, health, measurement
from tests.graphs import change_variant

PLOTS = re.compile(r"<svg.*?</svg>", re.S)


def row(
    variant: str,
    nanoseconds: int = 2000,
    bundle: str = "x.bundle",
    launches: int = 3,
    samples: int = 40,
    **case: object,
) -> Row:
    """A row whose samples lie around a time."""
    planned = Case(bundle, variant, **case)  # type: ignore[arg-type]
    times = [nanoseconds + (7 * i % 11) * nanoseconds // 1000 for i in range(samples)]
    return Row(planned, tuple(measurement(planned, times) for _ in range(launches)))


def findings(rows: Sequence[Row], manifest: Manifest | None = None, **more: object) -> Findings:
    """What a page is made of, all rows' bundles being that one."""
    return Findings(tuple(rows), {r.case.bundle: manifest for r in rows}, **more)  # type: ignore[arg-type]


class Page(HTMLParser):
    """What a browser would make of it: elements, attributes, visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data

    def all(self, name: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [a for tag, a in self.elements if tag == name and wanted.items() <= a.items()]


def discs(html: str) -> dict[str, tuple[float, float, float, str]]:
    """The Pareto plot's discs by variant: x, y, radius, class."""
    found = {}
    for svg in PLOTS.findall(html):
        for group in ElementTree.fromstring(svg).iter("g"):
            circle, title = group.find("circle"), group.find("title")
            if circle is not None and title is not None and "disc" in circle.get("class", ""):
                place = [float(circle.get(key, "nan")) for key in ("cx", "cy", "r")]
                name = (title.text or "").partition(":")[0]
                found[name] = (place[0], place[1], place[2], circle.get("class", ""))
    return found


@pytest.fixture
def manifest(classifier_bundle: Path) -> Manifest:
    """Two variants: rounded is a quarter as large and less accurate; fp32 has its parity."""
    judged = Quality("accuracy", 0.98, 0.98, 1.0, 1000)
    proved = (
        OutputParity("y", True, 0.125, 1.0, "only", sqnr_db=61.0),
        OutputParity("z", True, 0, 0, "only"),
    )
    change_variant(classifier_bundle, "fp32", quality=judged, bytes=400_000, parity=proved)
    worse = Quality("accuracy", 0.95, 0.98, 0.96, 1000)
    change_variant(classifier_bundle, "rounded", quality=worse, bytes=100_000)
    (read,) = read_manifests([Case(str(classifier_bundle), "fp32")]).values()
    assert read is not None
    return read


def test_a_faster_variant_stands_left_and_a_better_one_higher(manifest: Manifest) -> None:
    html = render(findings([row("fp32", 4000), row("rounded", 2000)], manifest))
    (x, y, radius, _), (x_small, y_small, radius_small, _) = (
        discs(html)[name] for name in ("fp32", "rounded")
    )
    assert x_small < x
    assert y_small > y  # pixels count downwards
    assert radius_small == pytest.approx(radius / 2, abs=0.1)  # a quarter of the area


def test_labels_of_points_in_a_heap_cover_neither_each_other_nor_a_point() -> None:
    points = [Point(300 + 9 * i, 200 + 4 * i, 8, f"int{i}-weights") for i in range(6)]
    frame = Box(0, 0, 720, 400)
    placed = [label.box for label in place_labels(points, [], frame)]
    for i, box in enumerate(placed):
        assert all(box.overlap(other) == 0 for other in placed[i + 1 :])
        assert all(box.overlap(point.box) == 0 for point in points)
        assert box.left >= 0 <= box.top
        assert box.right <= 720


def test_fewer_nats_stand_higher(manifest: Manifest, classifier_bundle: Path) -> None:
    for name, nats in (("fp32", 1.29), ("rounded", 1.35)):
        change_variant(classifier_bundle, name, quality=Quality("nats", nats, 1.29, 1.0, 1000))
    read = read_manifests([Case(str(classifier_bundle), "fp32")])[str(classifier_bundle)]
    html = render(findings([row("fp32"), row("rounded")], read))
    assert discs(html)["fp32"][1] < discs(html)["rounded"][1]


def test_an_invalid_row_is_hollow_with_its_reason_and_no_card_names_it(manifest: Manifest) -> None:
    case = Case("x.bundle", "rounded")
    hot = Row(case, (measurement(case, [1000] * 40, health=health(bits=4)),) * 2)
    html = render(findings([row("fp32", 4000), hot], manifest))
    assert "hollow" in discs(html)["rounded"][3]
    assert "hollow" not in discs(html)["fp32"][3]
    page = Page(html)
    assert "rounded is invalid: throttling: throttled" in page.text
    assert re.search(r"Latency\s*fp32\s*4.02 us", page.text)  # the only one there is to name


def test_rows_that_failed_or_answered_wrongly_are_named_and_have_no_plot() -> None:
    failed = Row(Case("x.bundle", "int8"), (), Failure("out of memory", "", 1))
    case = Case("x.bundle", "int4")
    wrong = Row(case, (measurement(case, parity=(WRONG,)),))
    html = render(findings([failed, wrong]))
    assert PLOTS.findall(html) == []
    for said in ("int8 failed: out of memory", "int4 answers wrongly: y: max |a-b| 2 is over 1"):
        assert said in Page(html).text


def test_distributions_tell_percentiles_only_where_they_are_earned() -> None:
    text = Page(render(findings([row("fp32", samples=12), row("int8", samples=400)]))).text
    assert "p50 2.01 us, p90 needs 64 samples, p99 needs 662 samples" in text
    assert re.search(r"p50 2.01 us, p90 2.02 us, p99 2.02 us", text)


def test_an_outlier_is_drawn_beyond_the_break_and_not_clipped() -> None:
    case = Case("x.bundle", "fp32")
    times = [*range(1000, 1100), 5_000_000]
    html = render(findings([Row(case, (measurement(case, times),) * 2)]))
    assert "the tail, compressed" in html
    dots = re.findall(r'd="(M\d+,[\d.]+h0)"', html)
    assert len(dots) == 1
    assert 690 < float(dots[0][1:].partition(",")[0]) <= 706
    assert "max 5 ms" in html


def test_a_run_too_short_for_the_clock_has_a_place() -> None:
    case = Case("x.bundle", "fp32")
    html = render(findings([Row(case, (measurement(case, [0, *range(100, 140)]),) * 2)]))
    assert "max 139 ns" in html


def test_latencies_at_a_rate_count_from_when_a_request_was_due() -> None:
    said = "latency from when a request was due"
    assert said in render(findings([row("fp32", open_loop=OpenLoop(100))]))
    assert said not in render(findings([row("fp32")]))


def test_rows_of_other_work_have_a_panel_each() -> None:
    rows = [row("fp32", sizes={"batch": size}, threads=t) for size in (1, 8) for t in (1, 2)]
    page = Page(render(findings(rows)))
    assert [a["id"] for a in page.all("section") if (a.get("id") or "").startswith("panel")] == [
        "panel-0",
        "panel-1",
    ]
    assert "x, batch 8" in page.text
    assert "fp32, 2 threads" in page.text


def test_a_sustained_run_has_its_course_with_the_clock() -> None:
    case = Case("x.bundle", "fp32", sustained_s=4)
    course = [Window(s, 100, 1000 + 100 * s, 2000, 3000, khz=1_500_000 - s) for s in range(4)]
    launch = measurement(case, [1000] * 50, sustained=Sustained(400, tuple(course)))
    html = render(findings([Row(case, (launch,))]))
    assert "median latency of each second" in html
    assert "clock of the fastest CPU" in html
    assert "highest temperature" not in html
    assert "median latency of each second" not in render(findings([row("fp32")]))


def test_a_comparison_has_a_section_whose_band_is_the_noise() -> None:
    rows = []
    for role, nanoseconds in (("a", 2000), ("again", 2000), ("b", 1000)):
        times = row("fp32", nanoseconds)
        rows.append(Row(times.case, times.measurements, side=Side(0, role)))  # type: ignore[arg-type]
    html = render(findings(rows, compared=compare_run(rows)))
    page = Page(html)
    assert "0.500 (0.500 - 0.500) of A's time: faster" in page.text
    assert len(page.all("rect", class_="noise")) == 1
    assert "A again: fp32" in page.text


def test_names_are_text_whatever_they_hold() -> None:
    evil = "<script>alert(1)</script>\"'&\x07.bundle"
    rows = [row("<b>", bundle=evil, label="</svg><img src=x>")]
    html = render(findings(rows, command=f"edgedl bench {evil} \udcff"))
    html.encode()
    page = Page(html)
    assert page.all("b") == page.all("img") == []
    assert [a["type"] for a in page.all("script")] == ["application/x-ndjson"]
    assert "<script>alert(1)</script>\"'&\ufffd.bundle" in page.text
    for svg in PLOTS.findall(html):
        ElementTree.fromstring(svg)


def test_nothing_is_fetched_and_nothing_runs(manifest: Manifest) -> None:
    page = Page(render(findings([row("fp32"), row("rounded")], manifest)))
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or value == "data:,", (tag, value)
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert (policy["content"] or "").startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script-src" not in (policy["content"] or "")
    assert "url(" not in render(findings([row("fp32")]))
    assert {a["type"] for a in page.all("script")} == {"application/x-ndjson"}


def test_tables_and_plots_can_be_read_aloud(manifest: Manifest) -> None:
    html = render(findings([row("fp32"), row("rounded")], manifest))
    page = Page(html)
    assert all(a.get("scope") in ("row", "col") for a in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for drawn in page.all("svg"):
        assert set((drawn["aria-labelledby"] or "").split()) <= set(ids)
    links = [(a["href"] or "").removeprefix("#") for a in page.all("a")]
    assert links
    assert set(links) <= set(ids)


def test_the_page_is_the_record_of_its_run() -> None:
    rows = [row("fp32"), row("</script><!--")]
    content, profiles = record_of(render(findings(rows)).encode(), "page.html")
    assert decode_rows(content) == rows
    assert profiles == b""


def test_too_many_samples_are_thinned_the_page_says_so_and_is_no_record_then() -> None:
    rows = [row(f"v{i}", launches=2, samples=150_000) for i in range(2)]
    assert len(encode_rows(rows)) > 3_000_000
    kept, every = thin(rows)
    assert every == 2
    assert kept[0].measurements[0].samples_ns == rows[0].measurements[0].samples_ns[::2]
    html = render(findings(rows))
    assert len(html) < 2_300_000
    assert "One in 2 raw samples is in this page" in Page(html).text
    assert "600,000 samples" in Page(html).text
    with pytest.raises(InputError, match="only one in 2 samples"):
        record_of(html.encode(), "page.html")


def test_the_parity_table_tells_the_bundle_s_evidence_and_this_run_s(manifest: Manifest) -> None:
    text = Page(render(findings([row("fp32")], manifest))).text
    assert re.search(r"fp32y0\.12561\.0 dB.*?passedright, 3 launches98\.00% accuracy", text)
    assert re.search(r"fp32z.*?passednot checked98\.00%", text)
    lost = Page(render(findings([row("fp32")]))).text
    assert "its bundle wasn't there any more" in lost
