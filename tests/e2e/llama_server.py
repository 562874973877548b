"""llama.cpp's own HTTP server as a process of its own, so that a crash of it is none of the tests. Run as a file it is the server, imported it starts
one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARALLEL = 2
"""Conversations at a time; each has its share of the context."""


@contextmanager
def running_llama(model: Path, *, use: str, context: int) -> Iterator[str]:
    """The server's URL. `use`: chat, embeddings or rerank. `context` is what one conversation may hold, in tokens."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(model), use, str(context * PARALLEL)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline().split()
        assert said, f"llama.cpp's server did not start: exit code {process.wait()}"
        yield said[-1]
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def serve(model: str, use: str, context: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context
    params.n_parallel = PARALLEL
    params.n_batch = params.n_ubatch = 512
    params.cpuparams.n_threads = 1
    params.n_threads_http = 8
    params.sampling.temp = 0.0
    params.warmup = params.fit_params = params.ui = False
    params.cache_ram_mib = 0
    params.verbosity = 1
    params.offline = True
    if use != "chat":
        pooling = xllamacpp.llama_pooling_type
        params.embedding = True
        params.pooling_type = pooling.LLAMA_POOLING_TYPE_MEAN if use == "embeddings" else pooling.LLAMA_POOLING_TYPE_RANK
    server = xllamacpp.Server(params)
    print("listening on", server.listening_address, flush=True)
    # until whoever started it closes its end, or ends
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
