"""Serve the page and the bundles it shows, on this machine, with nothing but Python.

    python examples/web/serve.py digits.bundle text.bundle

Any server of static files does as well: the page needs its own files, onnxruntime-web under
`node_modules/`, the bundles' directories, and `bundles.json`, the list of their addresses.
Threads in WebAssembly need the two cross-origin headers below, too.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, unquote, urlsplit

HERE = Path(__file__).resolve().parent
ENGINE = "node_modules/onnxruntime-web/dist"

HEADERS = {
    # Together these make the page cross-origin isolated: shared memory, so threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Nothing is fetched from, or sent to, anywhere else.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class PageHandler(SimpleHTTPRequestHandler):
    """The page's own files, onnxruntime-web's, and those of the bundles by name."""

    protocol_version = "HTTP/1.1"
    extensions_map: ClassVar = {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".mjs": "text/javascript; charset=utf-8",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
        ".npz": "application/octet-stream",
    }

    def __init__(self, *args: object, bundles: dict[str, Path]) -> None:
        self.bundles = bundles
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer a file, or the list of bundles."""
        if urlsplit(self.path).path == "/bundles.json":
            self._send_bundles()
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        """The file behind an address; one that isn't there where the address isn't ours."""
        match unquote(urlsplit(path).path).split("/")[1:]:
            case ["bundles", name, file] if name in self.bundles:
                root = self.bundles[name]
            case [""]:
                root, file = HERE, "index.html"
            case ["index.html" | "style.css" | "icon.svg" as file]:
                root = HERE
            case ["js", file]:
                root = HERE / "js"
            case [*folders, file] if "/".join(folders) == ENGINE:
                root = HERE / ENGINE
            case _:
                root, file = HERE, "nothing"
        inside = (root / file).resolve()
        ours = inside.parent == root.resolve() and inside.is_file()
        return str(inside if ours else HERE / "nothing")

    def end_headers(self) -> None:
        """Every answer carries the page's headers."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say what failed only."""

    def log_error(self, format: str, *args: object) -> None:
        """Say it on stderr."""
        print(f"{self.client_address[0]}: {format % args}: {self.path}", file=sys.stderr)

    def _send_bundles(self) -> None:
        content = json.dumps([f"bundles/{quote(name)}/" for name in self.bundles]).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def find_bundles(paths: list[Path]) -> dict[str, Path]:
    """Bundle directories by the names they are served under."""
    bundles: dict[str, Path] = {}
    for path in paths:
        if not (path / "manifest.json").is_file():
            raise SystemExit(f"{path} is not a bundle: give what `edgedl export -o` wrote")
        if path.resolve().name in bundles:
            raise SystemExit(f"two bundles are called {path.resolve().name}: rename one")
        bundles[path.resolve().name] = path.resolve()
    return bundles


def open_server(
    bundles: dict[str, Path], host: str = "127.0.0.1", port: int = 0, certificate: str = ""
) -> ThreadingHTTPServer:
    """A server that listens already; port 0 takes a free one."""
    try:
        server = ThreadingHTTPServer((host, port), partial(PageHandler, bundles=bundles))
    except OSError as error:
        raise SystemExit(f"can't listen on {host}:{port}: {error.strerror}: try --port") from None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate)
        except OSError as error:
            raise SystemExit(f"{certificate} is no certificate with its key: {error}") from None
        # The handshake belongs to a request's own thread, not to the one that accepts.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    return server


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the page and the bundles it shows.")
    parser.add_argument("bundles", nargs="+", type=Path, help="directories of bundles")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="port, 0 for any (%(default)s)")
    parser.add_argument("--certificate", default="", metavar="PEM", help="serve https with it")
    options = parser.parse_args()
    if not (HERE / ENGINE).is_dir():
        raise SystemExit("onnxruntime-web is not here: run `make web`")
    bundles = find_bundles(options.bundles)
    server = open_server(bundles, options.host, options.port, options.certificate)
    scheme = "https" if options.certificate else "http"
    print(f"{scheme}://{options.host}:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


if __name__ == "__main__":
    main()
