"""Who may import whom: the layers, held to by reading the imports of every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "extproc"

ALLOWED: dict[str, set[str]] = {
    "core": {"core"},
    "dialects": {"core", "dialects"},
    "providers": {"core", "providers"},
    "registry": {"core", "providers", "registry"},
    "routing": {"core", "registry", "routing"},
    "telemetry": {"core", "telemetry"},
    "stages": {"core", "registry", "routing", "stages", "telemetry"},
    "envoyconfig": {"core", "providers", "registry", "envoyconfig"},
    "tokens": {"core", "registry", "tokens"},
    "simulator": {"simulator"},
    "edge": {"core", "edge", "registry", "routing", "stages", "telemetry", "envoyconfig", "dialects", "providers"},
    "admin": {"admin", "core", "edge", "registry", "routing", "stages", "telemetry", "envoyconfig", "dialects", "providers"},
}
"""A layer and the layers that it may import. `commands`, `app` and `__main__` are the top: they may import anything, nobody imports them."""

TOP = {"app", "commands", "__main__", "demo"}
PURE = ("core", "dialects", "providers", "routing", "stages")
EFFECTS = {
    "asyncio",
    "socket",
    "threading",
    "subprocess",
    "random",
    "secrets",
    "time",
    "os",
    "pathlib",
    "httpx",
    "grpc",
    "logging",
    "tempfile",
}
CORE_MAY = {"orjson", "extproc"}


def files() -> list[Path]:
    return [p for p in sorted(ROOT.rglob("*.py")) if not p.name.endswith("_pb2.py")]


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{a.name}" for a in node.names] if node.module == "extproc" else [node.module or ""]
    return found


def layer(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    here = layer(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "extproc" or len(parts) < 2 or parts[1].startswith("__"):
            continue
        if here not in TOP:
            assert parts[1] in ALLOWED.get(here, set()) | {"__init__"}, f"{here} may not import {name}"
        else:
            assert here == "__main__" or parts[1] != "__main__"


@pytest.mark.parametrize("path", [p for p in files() if layer(p) == "dialects"], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_dialect_imports_a_sibling(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if parts[1] == "catalog.py":
        return
    for name in imports(path):
        if name.startswith("extproc.dialects"):
            assert name.split(".")[2] == parts[1].removesuffix(".py"), name


@pytest.mark.parametrize("path", [p for p in files() if layer(p) in PURE], ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_layers_reach_for_nothing(path: Path) -> None:
    for name in imports(path):
        assert name.split(".")[0] not in EFFECTS, f"{name} in a pure layer"


@pytest.mark.parametrize("path", [p for p in files() if layer(p) in PURE], ids=lambda p: str(p.relative_to(ROOT)))
def test_pure_layers_read_no_clock(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in {"now", "utcnow", "today"}, f"{path.name}:{node.lineno}"


def test_core_needs_only_the_standard_library_and_orjson() -> None:
    import sys

    for path in files():
        if layer(path) == "core":
            for name in imports(path):
                first = name.split(".")[0]
                assert first in CORE_MAY or first in sys.stdlib_module_names, f"{path.name}: {name}"
