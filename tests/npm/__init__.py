"""The clients that come from npm finish conversations with tools through the real Envoy, each served by providers of other dialects.

    python -m tests.npm [NAME ...]

installs them into `build/npm` (0.8 GB, once for each lock file), starts the whole system of `tests.e2e` with simulated providers, drives every
client without a terminal, and prints what became of each. NAME is a part of a client's name: only those run. Exit code 0: all did it.
Needs node 20 or newer and npm, and the network for the installation alone.
"""
