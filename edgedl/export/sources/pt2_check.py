"""What is in a `.pt2` file, read before torch reads it: a file that could run code is refused.

`torch.export.load` is not safe on a stranger's file (torch 2.13; its own docstring warns).
A file made for it ran a command of ours through each of these:

- a symbolic size (`expr_str`), which goes through `sympy.sympify`, Python's `eval`;
- a guard (`guards_code`), Python that `program.module()` compiles and the call runs;
- the example inputs: read with `weights_only=True` and, where that fails, *unpickled all the
  same*; so are legacy `.pt` members.

Read in its source, not tried: weights and constants marked `use_pickle`, `opaque_obj_*` and
`custom_obj_*` constants are unpickled; `data/aotinductor/` holds a shared library, which is
loaded; names of values and arguments are pasted into the source of `forward`; a tree of
inputs or outputs may name an enum or a factory by its module, which is imported; an
operator's name is looked up with `getattr` from `torch`, `math` or `operator` (torch then
refuses `torch.os.system`, but not aten operators that write files).

So only what an exported program of plain tensors needs is let through: members, names, sizes,
guards and operators are each held to a list. The file is parsed by C++ code even so: this
keeps code out, it is no sandbox.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedl.export.errors import SourceError
from edgedl.export.sources.pt2_expressions import is_plain_guard, is_plain_size
from edgedl.export.sources.torch_run import import_torch
from edgedl.runtime.errors import one_line

MEMBERS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version"
    r"|\.storage_alignment|extra/.*"
    r"|models/\w+\.json|data/sample_inputs/\w+\.pt"
    r"|data/weights/(weight_\d+|\w+_config\.json)|data/constants/(tensor_\d+|\w+_config\.json))"
)
PAYLOAD = re.compile(r"(weight|tensor)_\d+")
OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|edgedl)\.((?!_)\w+|_[a-z]\w*|__(and|or|xor|lshift|rshift)__)"
    r"\.(?!__)\w+"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|wrap_with_set_grad_enabled"
    r"|wrap_with_autocast)"
    r"|torch\._?sym_\w+"
    r"|torch\.amp\.autocast_mode\._(enter|exit)_autocast|torch\._C\._set_grad_enabled"
    r"|math\.[a-z]\w*"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge"
    r"|and_|or_|xor|not_|invert|lshift|rshift)"
)
# aten operators that read or write files.
FILE_OPERATORS = re.compile(r"torch\.ops\.aten\.(save|from_file|load|open)\.")
SAVE_AGAIN = "save it with torch.export.save(torch.export.export(model, inputs), 'model.pt2')"
NAME = re.compile(r"\w*")
# A parameter's dotted name, a dtype, a version; nothing that ends a quoted string.
LABEL = re.compile(r"[\w.+:/<>* -]*")
# Strings that torch only shows or keeps: never parsed, never code.
INERT = frozenset({"stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "as_string"})
NODES = frozenset({"name", "forward_arg_names", "as_strings"})
TREES = frozenset({"in_spec", "out_spec"})
TREE_TYPES = re.compile(
    r"builtins\.(tuple|list|dict)|collections\.(OrderedDict|namedtuple|deque)"
    r"|torch\.fx\.immutable_collections\.immutable_(list|dict)"
)


def check_pt2(content: bytes, path: Path) -> None:
    """Refuse a file that isn't an exported program of plain tensors.

    Args:
        content: The file's bytes, the same that are loaded afterwards.
        path: The file to name in errors.

    Raises:
        SourceError: What it is, or what in it could run code.
    """
    try:
        members = _read(content, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise SourceError(
            f"{path} is not a whole .pt2 archive: {one_line(error)}", SAVE_AGAIN
        ) from error
    _check_members(members, path)
    for name, data in members.items():
        if name.endswith(".json"):
            _check_document(name, data, path)
        if name.endswith(".pt"):
            _check_tensors(name, data, path)


def _read(content: bytes, path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        # Readers differ in which of two they take; torch's ignores case.
        if len({name.casefold() for name in names}) < len(names):
            raise _refuse(path, "two members of one name")
        return {name: archive.read(name) for name in names}


def _check_members(members: dict[str, bytes], path: Path) -> None:
    if not any(re.fullmatch(r"[^/]+/models/\w+\.json", name) for name in members):
        raise SourceError(f"{path} holds no exported program", SAVE_AGAIN)
    if len({name.split("/")[0] for name in members}) > 1:
        raise _refuse(path, "more than one archive")
    for name in members:
        if not MEMBERS.fullmatch(name):
            raise _refuse(path, name)


def _check_tensors(name: str, data: bytes, path: Path) -> None:
    torch = import_torch()
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _refuse(path, f"{name}, which is not just tensors") from error


def _check_document(name: str, data: bytes, path: Path) -> None:
    try:
        problem = next((p for p in _problems("", json.loads(data)) if p), "")
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: {name} is damaged: {one_line(error)}", SAVE_AGAIN) from error
    if problem:
        raise _refuse(path, problem)


def _problems(key: str, value: Any) -> Iterator[str]:
    """What is not on a list, at any depth; a list's entries stand under its key."""
    if key == "use_pickle" and value:
        yield "pickled tensors"
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not LABEL.fullmatch(name):
                yield f"the name {name[:80]!r}"
            yield from _problems(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _problems(key, inner)
    elif isinstance(value, str):
        yield _string_problem(key, value)


def _string_problem(key: str, text: str) -> str:
    if key in INERT:
        return ""
    if key in TREES:
        return next((p for p in _tree_problems(json.loads(text)) if p), "") if text else ""
    for keys, allowed, what in (
        (("path_name",), PAYLOAD.fullmatch, "the constant"),
        (("expr_str",), is_plain_size, "the size"),
        (("guards_code",), is_plain_guard, "the guard"),
        (("target", "as_operator"), _is_operator, "the operator"),
        (NODES, NAME.fullmatch, "the name"),
    ):
        if key in keys:
            return "" if allowed(text) else f"{what} {text[:80]!r}"
    return "" if LABEL.fullmatch(text) else f"{key} {text[:80]!r}"


def _tree_problems(tree: Any) -> Iterator[str]:
    """A tree's own types and plain keys; it is JSON with more JSON in its `context`."""
    if isinstance(tree, list):
        for inner in tree:
            yield from _tree_problems(inner)
    if not isinstance(tree, dict):
        return
    if not TREE_TYPES.fullmatch(tree.get("type") or "builtins.tuple"):
        yield f"an input or output of type {str(tree['type'])[:80]!r}"
    if "__enum__" in str(json.loads(tree.get("context") or "null")):
        yield "an input or output that names a Python class"
    yield from _tree_problems(tree.get("children_spec"))


def _is_operator(name: str) -> bool:
    return bool(OPERATORS.fullmatch(name)) and not FILE_OPERATORS.match(name)


def _refuse(path: Path, what: str) -> SourceError:
    return SourceError(
        f"{path} holds {what}: refused, since it could run code",
        "export the module to a program of plain tensors and aten operators",
    )
