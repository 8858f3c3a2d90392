"""--min-ort, proved: what is exported for an old onnxruntime runs in that very release.

Two of them: the oldest that has a wheel for this Python, and the oldest that `edgedl[cpu]`
allows. Each is installed in an environment of its own, with NumPy 1 and msgspec; the worker
there checks every variant against the golden vectors.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedl.export.graph import latest_opset
from edgedl.export.recipes import RECIPES
from tests.export.conftest import Export
from tests.export.fake_source import FakeSource, conv_source, lstm_source, way
from tests.export.layers import VECTOR, dense, thin

pytest_plugins = ("tests.export.conftest",)
pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[1]
ALLOWED = "1.17.0"
PRUNING = {"pruned", "pruned-close"}
COMPOSED = ("low-rank+int8-dynamic", "low-rank+int4-weights")
CHECK = """
import json, sys
import onnxruntime
from edgedl.runtime.protocol import ParityAnswer, ParityRequest
from edgedl.runtime.worker import answer
said = answer(ParityRequest(sys.argv[1]))
assert isinstance(said, ParityAnswer), said
print(json.dumps([onnxruntime.__version__, {v.variant: v.passed for v in said.variants}]))
"""


def thin_dense_source() -> FakeSource:
    """A dense layer of small rank."""
    weight = thin()
    return FakeSource(
        (VECTOR,), ("y",), lambda feeds: (feeds["x"] @ weight,), (way(lambda opset: dense(weight)),)
    )


def oldest_release() -> str:
    """The oldest onnxruntime that pip can install into this Python."""
    pip = [sys.executable, "-m", "pip", "index", "versions", "onnxruntime"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Available versions: (.*)", listed)
    assert found, listed
    return found[1].split(",")[-1].strip()


@pytest.fixture(scope="module", params=["oldest with a wheel", "oldest allowed"])
def installed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """A release and the Python that has it."""
    release = ALLOWED if request.param == "oldest allowed" else oldest_release()
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", f"onnxruntime=={release}", "numpy<2", "msgspec"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return release, python


def check(python: Path, bundle: Path) -> tuple[str, dict[str, bool]]:
    """The onnxruntime there, and whether each variant proved itself."""
    done = subprocess.run(
        [python, "-c", CHECK, bundle], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    version, passed = json.loads(done.stdout)
    return version, passed


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        (conv_source, {"low-rank", *PRUNING}),
        (
            lstm_source,
            {"low-rank", "int8-weights", *PRUNING, *(n for n in RECIPES if "static" in n)},
        ),
        (thin_dense_source, PRUNING),
    ],
)
@pytest.mark.parametrize("newest_opset", [False, True])
def test_variants_run_in_the_release_they_are_made_for(
    source: Callable[[], FakeSource],
    missing: set[str],
    newest_opset: bool,
    installed: tuple[str, Path],
    export: Export,
) -> None:
    release, python = installed
    composed = COMPOSED if source is thin_dense_source and release == ALLOWED else ()
    bundle = export(
        source(),
        recipes=("all", *composed),
        min_ort=release,
        opset=latest_opset(release) if newest_opset else None,
    )
    version, passed = check(python, bundle.path)
    assert version == release
    assert all(passed.values()), passed
    left_out = {r["recipe"]: r["reason"] for r in bundle.manifest.provenance["recipes_rejected"]}
    equal = {name for name, reason in left_out.items() if "comes out the same" in reason}
    four_bits = {"int4-weights"} if release != ALLOWED else set()
    assert {*RECIPES, *composed} - equal - missing - four_bits == set(passed)


def test_a_variant_says_which_release_it_needs_and_older_ones_refuse_it(
    installed: tuple[str, Path], export: Export
) -> None:
    bundle = export(thin_dense_source(), recipes=("int8-weights",))
    assert bundle.manifest.variants[0].min_onnxruntime == "1.22"
    with pytest.raises(AssertionError, match="can't load"):
        check(installed[1], bundle.path)
