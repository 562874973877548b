"""Envoy's files for a registry: checked by us, by Envoy itself where its binary is at hand, and written where Envoy watches.

Files that already say what they would say are neither validated nor written: a registry that differs in models, rules and limits alone has the
same ones.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from extproc.edge.reload import Written
from extproc.envoyconfig.check import check
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import BOOTSTRAP, render
from extproc.envoyconfig.sources import SourceError, Sources, load_sources
from extproc.envoyconfig.validate import validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.registry.types import Registry


class RenderedFiles:
    """`directory` has the SREs' files (None: the packaged ones). `binary` None: files are written without Envoy's own validation.

    Of several workers all come to the same verdict, and the first writes.
    """

    def __init__(self, options: Options, directory: Path | None, binary: Path | None, worker: int = 0) -> None:
        self._options = options
        self._directory = directory
        self._binary = binary
        self._worker = worker
        self._out = Path(options.out_dir)
        self._bootstrap: bytes | None = None

    async def check(self, registry: Registry) -> str | None:
        """Why `write` would refuse it, or None."""
        try:
            return await asyncio.to_thread(self._checked, registry)
        except OSError as error:
            return f"envoy's files cannot be written: {error.strerror or type(error).__name__}: {self._out}"

    async def write(self, registry: Registry) -> Written:
        """Only what differs. What the disk does not take is a refusal."""
        try:
            return await asyncio.to_thread(self._written, registry)
        except OSError as error:
            return Written(f"envoy's files cannot be written: {error.strerror or type(error).__name__}: {self._out}", changed=True)

    def _checked(self, registry: Registry) -> str | None:
        rendered = self._rendered(registry)
        if isinstance(rendered, str):
            return rendered
        sources, files = rendered
        return None if self._stands(self._news(files)) else self._refusal(registry, sources)

    def _written(self, registry: Registry) -> Written:
        rendered = self._rendered(registry)
        if isinstance(rendered, str):
            return Written(rendered)
        sources, files = rendered
        news = self._news(files)
        stands = self._stands(news)
        if not stands or BOOTSTRAP in news:
            refusal = self._refusal(registry, sources)
            if refusal is not None:
                return Written(refusal)
            if self._worker == 0:
                write(news, self._out)
        self._bootstrap = files[BOOTSTRAP]
        return Written(None, changed=not stands)

    def _news(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """`files` without a bootstrap that is the same as last time. A running Envoy does not read it, and the one that it was started with is left
        alone: whoever started it may have added to it."""
        same = self._bootstrap in (None, files[BOOTSTRAP]) and (self._out / BOOTSTRAP).is_file()
        return {name: content for name, content in files.items() if name != BOOTSTRAP} if same else files

    def _rendered(self, registry: Registry) -> tuple[Sources, dict[str, bytes]] | str:
        try:
            sources = load_sources(self._directory)
        except SourceError as error:
            return str(error)
        problems = check(registry, sources, self._options)
        if problems:
            return "\n".join(str(p) for p in problems)
        return sources, render(registry, self._options, sources)

    def _refusal(self, registry: Registry, sources: Sources) -> str | None:
        if self._binary is None:
            return None
        trial = self._out / f"trial-{self._worker}"
        # rendered for where it lies: a new provider's secret is not in `out_dir` yet
        write(render(registry, replace(self._options, out_dir=str(trial)), sources), trial)
        refusal = validate_with_envoy(self._binary, trial)
        return None if refusal is None else f"envoy refuses the rendered configuration: {refusal}"

    def _stands(self, files: dict[str, bytes]) -> bool:
        """Is what a running Envoy reads there already, but for the comment in its first line (which names the registry that it was made for)?"""
        there = {f"sds/{path.name}" for path in (self._out / "sds").glob("*.yaml")}
        if there != {name for name in files if name.startswith("sds/")}:
            return False
        return all(
            (self._out / name).is_file() and _told((self._out / name).read_bytes()) == _told(content)
            for name, content in files.items()
            if name != BOOTSTRAP
        )


def _told(content: bytes) -> bytes:
    return content.partition(b"\n")[2]
