"""Compiles proto/llm_extproc.proto. `python -m tests.protocol --write` writes the generated modules; a test compares them with what is there."""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto" / "llm_extproc.proto"
TARGET = ROOT / "extproc" / "edge"
GENERATED = ("llm_extproc_pb2.py", "llm_extproc_pb2.pyi")


def compile_to(directory: Path) -> None:
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    code = protoc.main(["protoc", f"-I{SOURCE.parent}", f"-I{well_known}", f"--python_out={directory}", f"--pyi_out={directory}", str(SOURCE)])
    if code:
        raise SystemExit(code)


def drift() -> list[str]:
    """The generated files that differ from the source."""
    with tempfile.TemporaryDirectory() as scratch:
        compile_to(Path(scratch))
        return [name for name in GENERATED if (Path(scratch) / name).read_text() != (TARGET / name).read_text()]


if __name__ == "__main__":
    if "--write" in sys.argv:
        compile_to(TARGET)
    else:
        sys.exit(", ".join(drift()) or 0)
