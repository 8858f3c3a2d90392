"""The web page, driven as a person would: the same bundle answers, and proves itself, there."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from onnx import helper
from playwright.sync_api import Browser, Locator, expect

from edgedl import runtime
from edgedl.runtime.bundle import open_bundle
from edgedl.runtime.golden import read_npz, write_npz
from edgedl.runtime.manifest import Tolerance
from tests.examples.browsing import Opener, draw, serving, visiting, write
from tests.examples.page_parity import assert_same_parity, python_parity
from tests.graphs import (
    TOKENS,
    change_manifest,
    change_variant,
    classifier_graph,
    classifier_weights,
    replace_golden,
    replace_variant,
    rounded,
    write_classifier_bundle,
    write_text_bundle,
)

pytestmark = pytest.mark.browser


def test_every_variant_answers_the_golden_vectors_as_in_python(
    visit: Opener, classifier_bundle: Path, text_bundle: Path
) -> None:
    opened = visit(classifier_bundle, text_bundle)
    for bundle in (classifier_bundle, text_bundle):
        assert_same_parity(opened, bundle)
    assert (
        "equals the golden vectors"
        in opened.card(text_bundle.name).locator(".verdict p").inner_text()
    )
    assert any(url.endswith("fp32.onnx") for url in opened.asked)


def test_a_variant_that_answers_otherwise_is_not_proved(visit: Opener, tmp_path: Path) -> None:
    bundle = write_classifier_bundle(tmp_path / "wrong.bundle")
    other = classifier_graph(rounded(classifier_weights())).SerializeToString()
    replace_variant(bundle, "fp32", other)
    opened = visit(bundle)
    card = opened.proved(bundle.name)
    expect(card.locator(".proof")).to_have_attribute("data-verdict", "fails")
    expect(card.locator(".verdict p")).to_contain_text("Not proved: fp32. probabilities: max |a-b|")
    row = opened.prove_all(bundle.name)["fp32", "probabilities"]
    assert row["verdict"] == "fails"
    assert not python_parity(bundle)["fp32", "probabilities"].passed


def cut_short(bundle: Path) -> Path:
    """Leave the last position out of the parts in which the longest call is read again."""
    golden = open_bundle(bundle).manifest.golden
    cases = tuple(
        replace(case, chunks=replace(case.chunks, lengths=(1, 4))) if case.chunks else case
        for case in golden.cases
    )
    change_manifest(bundle, golden=replace(golden, cases=cases))
    return bundle


def test_every_kind_of_golden_case_can_fail(visit: Opener, tmp_path: Path) -> None:
    faults = {
        "steps4/logits": "max |a-b|",
        "forced3/h_out": "steps from the source's state",
        "text5/tokens": "greedy text leaves the source's at token 0",
    }
    bundles = [write_text_bundle(tmp_path / f"fault{n}.bundle") for n in range(len(faults))]
    for bundle, name in zip(bundles, faults, strict=True):
        arrays = read_npz((bundle / "golden.npz").read_bytes(), "golden.npz")
        # Of a text only what the source wrote: its prompt, three tokens, stays.
        part = arrays[name][..., 3:] if name.startswith("text") else arrays[name]
        part[...] = (part + 1) % len(TOKENS)
        replace_golden(bundle, write_npz(arrays))
    bundles.append(cut_short(write_text_bundle(tmp_path / "parts.bundle")))
    opened = visit(*bundles)
    in_parts = "a sequence in parts differs from it whole"
    for bundle, said in zip(bundles, (*faults.values(), in_parts), strict=True):
        verdict = opened.proved(bundle.name).locator(".verdict p")
        expect(verdict).to_contain_text("Not proved: fp32")
        expect(verdict).to_contain_text(said)
        assert not all(row.passed for row in python_parity(bundle).values())


def test_noise_over_the_limit_fails(visit: Opener, tmp_path: Path) -> None:
    bundle = write_text_bundle(tmp_path / "noisy.bundle")
    change_variant(bundle, "rounded", tolerance=Tolerance(min_sqnr_db=60.0))
    row = visit(bundle).prove_all(bundle.name)["rounded", "logits"]
    assert row["verdict"] == "fails"


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.find(b"cat") if path.suffix == ".json" else len(content) // 2
    content[at] ^= 1
    path.write_bytes(content)


def test_a_damaged_file_is_refused_in_one_line(visit: Opener, tmp_path: Path) -> None:
    files = ("fp32.onnx", "manifest.json", "golden.npz")
    bundles = [write_classifier_bundle(tmp_path / f"{file}.bundle") for file in files]
    for bundle, file in zip(bundles, files, strict=True):
        flip_a_byte(bundle / file)
    opened = visit(*bundles)
    for bundle, file in zip(bundles, files, strict=True):
        card = opened.card(bundle.name)
        expect(card.locator(".error")).to_contain_text(f"/{file} is damaged")
        assert "\n" not in card.locator(".error").inner_text()
        assert card.locator(".proof").get_attribute("data-verdict") is None

    card = opened.card("fp32.onnx.bundle")
    expect(card).to_have_attribute("data-state", "refused")
    card.locator(".pad canvas").click()
    expect(card.locator(".answer[data-label]")).to_have_count(0)
    card.get_by_label("Variant").select_option("rounded")  # its file is whole
    expect(card.locator(".proof")).to_have_attribute("data-verdict", "holds")
    expect(card.locator(".error")).to_be_hidden()
    expect(card.locator(".answer[data-label]")).to_have_count(1)
    opened.prove_all("fp32.onnx.bundle")
    expect(card.locator(".proof")).to_have_attribute("data-verdict", "fails")
    expect(card.locator(".verdict p")).to_contain_text("Not proved: fp32.")


def test_a_variant_that_the_browser_cannot_run_makes_room_for_another(
    visit: Opener, tmp_path: Path
) -> None:
    bundle = write_classifier_bundle(tmp_path / "odd ü #1.bundle")
    graph = classifier_graph(classifier_weights())
    graph.graph.node[0].CopyFrom(
        helper.make_node("NoSuchOperator", ["image"], ["flat"], domain="nowhere")
    )
    graph.opset_import.append(helper.make_opsetid("nowhere", 1))
    replace_variant(bundle, "fp32", graph.SerializeToString())
    opened = visit(bundle)
    card = opened.proved(bundle.name)
    expect(card.locator(".note")).to_contain_text("can't run fp32")
    expect(card.locator(".note")).to_contain_text("rounded takes its place")
    expect(card.get_by_label("Variant")).to_have_value("rounded")
    rows = opened.prove_all(bundle.name)
    assert {variant for variant, _ in rows} == {"rounded"}
    expect(card.locator("tbody[data-unsupported]")).to_contain_text("can't run fp32")


def test_text_is_what_python_writes(visit: Opener, text_bundle: Path) -> None:
    opened = visit(text_bundle)
    card = opened.proved(text_bundle.name)
    with runtime.load(text_bundle) as model:
        generator = model.generator()
        greedy = "".join(generator.generate("abca b", 60, temperature=0))
        drawn = "".join(generator.generate("abca b", 60, temperature=0.9, seed=7))
    assert write(card, "abca b", tokens="60", temperature="0", seed="3") == greedy
    assert write(card, "abca b", tokens="60", temperature="0.9", seed="7") == drawn
    assert write(card, "abca b", tokens="60", temperature="0.9", seed="7") == drawn
    assert write(card, "abca b", tokens="60", temperature="0.9", seed="8") != drawn
    expect(card.locator(".pace")).to_contain_text("60 tokens")
    assert card.locator(".given").text_content() == "abca b"


@pytest.mark.parametrize(
    ("prompt", "knobs", "said"),
    [
        ("", {}, "the prompt is empty"),
        ("a", {"tokens": "0"}, "the length is out of range"),
        ("a", {"seed": "-1"}, "the seed is no whole number"),
        ("a", {"seed": "1e3"}, "the seed is no whole number"),
    ],
)
def test_a_wish_that_makes_no_sense_is_answered_in_one_line(
    visit: Opener, text_bundle: Path, prompt: str, knobs: dict[str, str], said: str
) -> None:
    card = visit(text_bundle).proved(text_bundle.name)
    assert write(card, prompt, **knobs) == ""
    expect(card.locator(".error")).to_contain_text(said)


def test_writing_stops_when_asked(visit: Opener, text_bundle: Path) -> None:
    card = visit(text_bundle).proved(text_bundle.name)
    card.locator("[name=tokens]").evaluate("input => { input.max = 1e7; input.value = 1e7; }")
    card.get_by_role("button", name="Write").click()
    expect(card.locator(".written")).not_to_be_empty()
    card.get_by_role("button", name="Stop").click()
    expect(card.get_by_role("button", name="Write")).to_be_visible()


def seen_pixels(card: Locator) -> np.ndarray:
    """The picture that the model was given, uint8 (height, width)."""
    width, height, ink = card.locator(".seen canvas").evaluate(
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [canvas.width, canvas.height, Array.from(data.filter((_, at) => at % 4 === 3))];
        }"""
    )
    return np.array(ink, np.uint8).reshape(height, width)


def test_a_picture_is_read_as_python_reads_it(visit: Opener, classifier_bundle: Path) -> None:
    opened = visit(classifier_bundle)
    card = opened.proved(classifier_bundle.name)
    draw(opened.page, card.locator(".pad canvas"), [[(0.2, 0.2), (0.8, 0.3), (0.4, 0.9)]])
    answer = card.locator(".answer[data-label]")
    expect(answer).to_be_visible()
    expect(card.locator("[data-fact=run]")).to_contain_text("ms")
    with runtime.load(classifier_bundle) as model:
        prediction = model.classifier().classify(seen_pixels(card))
    assert answer.get_attribute("data-label") == prediction.label
    bars = card.locator(".bars li").all_inner_texts()
    assert [float(bar.split()[1]) for bar in bars] == pytest.approx(
        [100 * score for score in prediction.scores.values()], abs=0.06
    )
    card.get_by_role("button", name="Clear").click()
    expect(answer).to_have_count(0)
    draw(opened.page, card.locator(".pad canvas"), [[(0.3, 0.5), (0.7, 0.5)]])
    expect(answer).to_be_visible()
    ink = seen_pixels(card)
    assert np.ptp(ink.sum(0)) < np.ptp(ink.sum(1)), ink  # a line that lies


def test_a_drawing_is_fitted_and_centred_as_mnist_does(
    visit: Opener, classifier_bundle: Path
) -> None:
    page = visit(classifier_bundle).page
    picture = """async ([strokes, scale, x, y]) => {
      const { drawPicture } = await import("./js/picture.js");
      const moved = strokes.map((s) => s.map((p) => ({x: scale * p[0] + x, y: scale * p[1] + y})));
      return Array.from(drawPicture(moved, 28, 28));
    }"""
    seven = [[[0, 0], [6, 0], [2, 10]]]
    large, small = (
        np.array(page.evaluate(picture, [seven, *place])).reshape(28, 28)
        for place in ((30, 100, 50), (4, 400, 500))
    )
    assert np.abs(large - small).max() <= 2
    rows, columns = np.nonzero(large > 40)
    assert rows.max() - rows.min() + 1 == pytest.approx(20, abs=1)
    assert columns.max() - columns.min() + 1 < 20
    middle = (np.indices((28, 28)) * large).sum((1, 2)) / large.sum() + 0.5
    assert middle == pytest.approx([14, 14], abs=0.2)


def test_archives_of_every_kind_are_read(visit: Opener, classifier_bundle: Path) -> None:
    page = visit(classifier_bundle).page
    rng = np.random.default_rng(1)
    arrays = {
        "floats/a": rng.standard_normal((2, 3)).astype(np.float32),
        "b": rng.standard_normal(5),
        "c": np.array([[-(2**53), 2**53]], np.int64),
        "d": np.arange(300, dtype=np.uint8),
        "e": np.array(True),
        "f": np.float16([0.5, -2]),
    }
    read = """async (bytes) => {
      const { readNpz } = await import("./js/npz.js");
      const arrays = await readNpz(Uint8Array.from(bytes), "test.npz");
      return Object.entries(arrays).map(
        ([name, { dtype, shape, data }]) => [name, dtype, shape, Array.from(data, Number)]);
    }"""
    found = page.evaluate(read, list(write_npz(arrays)))
    assert [name for name, *_ in found] == list(arrays)
    for name, dtype, shape, numbers in found:
        array = arrays[name]
        assert (dtype, tuple(shape)) == (array.dtype.name, array.shape)
        assert numbers == array.ravel().astype(float).tolist()


def test_it_works_on_a_phone_with_a_finger(
    visit: Opener, classifier_bundle: Path, text_bundle: Path
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    opened = visit(classifier_bundle, text_bundle, **phone)
    card = opened.proved(classifier_bundle.name)
    opened.prove_all(text_bundle.name)
    card.locator(".pad canvas").tap()
    expect(card.locator(".answer[data-label]")).to_be_visible()
    wide, room = opened.page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= room


def test_it_works_with_a_keyboard(visit: Opener, classifier_bundle: Path) -> None:
    opened = visit(classifier_bundle)
    card = opened.proved(classifier_bundle.name)
    card.get_by_role("button", name="A test sample").focus()
    opened.page.keyboard.press("Enter")
    expect(card.locator(".answer")).to_contain_text("labelled")
    # The samples of this bundle are noise that no uint8 picture holds: only that it answers.
    card.get_by_label("Variant").focus()
    opened.page.keyboard.press("ArrowDown")
    expect(card.locator("[data-fact=file]")).to_contain_text("rounded.onnx")
    expect(card.locator(".verdict p")).to_contain_text("rounded holds its tolerance")


def test_threads_work_and_answer_the_same(visit: Opener, text_bundle: Path) -> None:
    opened = visit(text_bundle, query="?threads=2")
    card = opened.proved(text_bundle.name)
    expect(card.locator(".proof")).to_have_attribute("data-verdict", "holds")
    expect(opened.page.locator("#engine")).to_contain_text("2 threads")


def test_a_newer_bundle_is_refused(visit: Opener, tmp_path: Path) -> None:
    bundle = write_classifier_bundle(tmp_path / "newer.bundle")
    manifest = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(
        manifest.replace('"schema_version": 1', '"schema_version": 2')
    )
    expect(visit(bundle).card(bundle.name).locator(".error")).to_contain_text("has schema 2")


def test_it_works_over_https(browser: Browser, tmp_path: Path, classifier_bundle: Path) -> None:
    """As it must on a phone: without https there are no hashes there, and no threads."""
    pem = tmp_path / "own.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        f"-subj /CN=localhost -keyout {pem} -out {tmp_path / 'certificate.pem'}"
    )
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    with pem.open("a") as both:
        both.write((tmp_path / "certificate.pem").read_text())
    with (
        serving(classifier_bundle, options=("--certificate", str(pem))) as url,
        visiting(browser, url, ignore_https_errors=True) as opened,
    ):
        assert url.startswith("https://")
        card = opened.proved(classifier_bundle.name)
        expect(card.locator(".proof")).to_have_attribute("data-verdict", "holds")
