"""From a name in the configuration to an object: how a class, the lab's or a student's, gets plugged in."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class PlugError(Exception):
    """The class cannot be used; the text is one line for the person who named it."""


_loads = itertools.count(1)


def find(use: str, built_in: Mapping[str, type[Any]]) -> type[Any]:
    """The class that `use` names: a short name, `package.module:Class` or `path/to/file.py:Class`.

    A file is loaded afresh, under a module name of its own, each time it is asked for. Raises `PlugError`.
    """
    if use in built_in:
        return built_in[use]
    where, colon, name = use.rpartition(":")
    if not colon or not where or not name:
        match = difflib.get_close_matches(use, built_in, n=1)
        hint = f"did you mean '{match[0]}'?" if match else f"valid: {', '.join(built_in)}"
        raise PlugError(f"use: '{use}' is neither a built-in nor package.module:Class; {hint}")
    module = _load_file(Path(where)) if where.endswith(".py") else _load_module(where)
    found = getattr(module, name, None)
    if found is None:
        classes = [
            n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__
        ]
        match = difflib.get_close_matches(name, classes, n=1)
        hint = f"; did you mean '{match[0]}'?" if match else f"; it has {', '.join(classes) or 'no classes'}"
        raise PlugError(f"use: {where} has no class '{name}'{hint}")
    if not inspect.isclass(found):
        raise PlugError(f"use: {where}:{name} is not a class")
    return found


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise PlugError(f"use: there is no file {path}")
    name = f"lab_plugged_{next(_loads)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look their module up
    try:
        # Not through the loader: it believes its stored bytecode where a file was saved twice within a second
        # and kept its length, and a student would be shown the class from before.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        raise PlugError(f"use: {path} cannot be loaded: {oneline(error)}") from error
    return module


def _load_module(name: str) -> Any:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise PlugError(f"use: there is no module '{name}': {oneline(error)}") from None
    if spec is None:
        raise PlugError(f"use: there is no module '{name}'")
    if spec.origin and spec.origin.endswith(".py"):
        return _load_file(Path(spec.origin))
    return importlib.import_module(name)


def construct(cls: type[Any], **available: Any) -> Any:
    """`cls(…)` with those of the available arguments that its constructor names. Raises `PlugError`."""
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError) as error:
        raise PlugError(f"{cls.__name__}: {oneline(error)}") from error
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        available = {k: v for k, v in available.items() if k in parameters}
    try:
        return cls(**available)
    except Exception as error:
        raise PlugError(f"{cls.__name__} cannot be made: {oneline(error)}") from error


def promise(use: str, kept: bool, otherwise: str) -> None:
    """Raise `PlugError` where the class that `use` names does not keep a promise of its protocol."""
    if not kept:
        raise PlugError(f"use: {use}: {otherwise}")


def methods(thing: Any, protocol: type[Any]) -> tuple[bool, str]:
    """Whether `thing` has every method of `protocol`, and what to say where it has not."""
    for name, method in inspect.getmembers(protocol, inspect.isfunction):
        if not name.startswith("_") and not callable(getattr(thing, name, None)):
            arguments = ", ".join(list(inspect.signature(method).parameters)[1:])
            return False, f"{type(thing).__name__} has no method {name}({arguments})"
    return True, ""


def oneline(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero`, in one line whatever the error's text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
