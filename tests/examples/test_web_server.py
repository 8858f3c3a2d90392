"""What the example's server hands out, and what it says of what it can't."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.examples.browsing import SERVE, serving

pytestmark = pytest.mark.browser  # `make browser` brings what the server hands out


@pytest.fixture(scope="module")
def url(classifier_bundle: Path) -> Iterator[str]:
    with serving(classifier_bundle) as url:
        yield url


def get(url: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", path)  # the path as it is: no `..` is taken out
    return connection.getresponse()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/style.css", "text/css"),
        ("/js/app.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
        ("/bundles.json", "application/json"),
        ("/bundles/shapes.bundle/manifest.json", "application/json"),
        ("/bundles/shapes.bundle/fp32.onnx?again", "application/octet-stream"),
    ],
)
def test_files_come_with_their_type_and_the_pages_headers(url: str, path: str, kind: str) -> None:
    answer = get(url, path)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_bundles_are_listed(url: str) -> None:
    assert json.loads(get(url, "/bundles.json").read()) == ["bundles/shapes.bundle/"]


@pytest.mark.parametrize(
    "path",
    [
        "/serve.py",
        "/js",
        "/js/",
        "/js/../serve.py",
        "/js/..%2fserve.py",
        "/node_modules/",
        "/bundles/",
        "/bundles/shapes.bundle/",
        "/bundles/shapes.bundle/..%2f..%2f..%2fetc%2fpasswd",
        "/bundles/other.bundle/manifest.json",
        "//etc/passwd",
    ],
)
def test_nothing_else_is_handed_out(url: str, path: str) -> None:
    assert get(url, path).status == 404


def test_a_link_out_of_a_bundle_is_not_followed(tmp_path: Path, classifier_bundle: Path) -> None:
    bundle = Path(shutil.copytree(classifier_bundle, tmp_path / "linked.bundle"))
    (tmp_path / "secret.txt").write_text("secret")
    (bundle / "link.txt").symlink_to(tmp_path / "secret.txt")
    with serving(bundle) as url:
        assert get(url, "/bundles/linked.bundle/link.txt").status == 404


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is not a bundle"),
        (["{bundle}", "{bundle}"], "two bundles are called shapes.bundle"),
        (["{bundle}", "--certificate", "{bundle}/manifest.json"], "is no certificate"),
        (["{bundle}", "--host", "192.0.2.1"], "can't listen on 192.0.2.1:0"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    classifier_bundle: Path, arguments: list[str], said: str
) -> None:
    given = [argument.format(bundle=classifier_bundle) for argument in arguments]
    command = [sys.executable, str(SERVE), "--port", "0", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
