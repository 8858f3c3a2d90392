"""Help, verbs and documentation; what a fresh interpreter imports."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

import edgedl.cli
from edgedl import __version__
from edgedl.cli.commands import VERBS
from tests.cli.conftest import ROOT, Edgedl, Python

README = ROOT / "README.md"
FRAMEWORKS = ("torch", "tensorflow", "keras", "onnx", "tf2onnx", "onnxsim")

LOADED = """
import json, sys
from edgedl.cli import main
sys.argv = ["edgedl", *sys.argv[1:]]
try:
    main()
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(edgedl: Edgedl, verb: str) -> None:
    result = edgedl(verb, "--help")
    assert result.exit_code == 0
    examples = [line for line in result.stdout.splitlines() if line.startswith(f"  edgedl {verb} ")]
    assert examples
    assert result.stderr == ""


def test_every_command_in_a_file_is_a_verb() -> None:
    files = Path(edgedl.cli.__file__).parent.glob("[a-z]*.py")
    verbs = {f.stem for f in files if hasattr(import_module(f"edgedl.cli.{f.stem}"), "command")}
    assert verbs == set(VERBS)


def test_every_option_is_explained(edgedl: Edgedl) -> None:
    for verb in VERBS:
        command = import_module(f"edgedl.cli.{verb}").command
        silent = [
            option.name
            for option in command.params
            if option.param_type_name == "option" and not option.help
        ]
        # `run` takes the options of generation under names that say it all.
        assert not silent or verb == "run", f"{verb}: {silent}"


def test_the_overview_names_every_verb_and_the_version(edgedl: Edgedl) -> None:
    overview = edgedl("--help").stdout
    for verb, says in VERBS.items():
        assert f"  {verb}" in overview
        assert says.split()[0] in overview
    assert __version__ in edgedl("--version").stdout


@pytest.mark.skipif(not README.is_file(), reason="there is no README")
def test_help_and_documentation_name_every_recipe(edgedl: Edgedl) -> None:
    from edgedl.export.recipes import RECIPES

    shown = "".join(edgedl("export", "--help").stdout.split())
    documented = (ROOT / "docs" / "recipes.md").read_text()
    for name in RECIPES:
        assert f"{name}," in shown or f"{name};" in shown, name
        assert f"| `{name}` |" in documented, name


@pytest.mark.parametrize("verb", VERBS)
def test_the_readme_mentions_every_verb(verb: str) -> None:
    assert f"edgedl {verb} " in README.read_text()


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (("--help",), (*FRAMEWORKS, "onnxruntime")),
        (("parity", "--help"), FRAMEWORKS),
        (("bench", "--help"), FRAMEWORKS),
        (("run", "--help"), FRAMEWORKS),
        (("inspect", "--help"), (*FRAMEWORKS, "onnxruntime")),
        (("export", "--help"), ("torch", "tensorflow", "keras", "tf2onnx", "onnxsim")),
    ],
)
def test_help_starts_without_frameworks(
    python: Python, arguments: tuple[str, ...], forbidden: tuple[str, ...]
) -> None:
    done = python("-c", LOADED, *arguments)
    assert done.returncode == 0
    assert "Usage: edgedl" in done.stdout
    loaded = json.loads(done.stderr)
    assert "click" in loaded
    assert not set(loaded) & set(forbidden)


def test_edgedl_is_a_module_too(python: Python) -> None:
    done = python("-m", "edgedl", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"edgedl, version {__version__}\n",
        "",
    )


@pytest.mark.parametrize("arguments", [("no-such-verb",), ("inspect", "--no-such-option", "b")])
def test_wrong_usage_is_exit_code_2(edgedl: Edgedl, arguments: tuple[str, ...]) -> None:
    result = edgedl(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "No such" in result.stderr
