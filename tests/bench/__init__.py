"""Measurements of the whole: client, Envoy, our server, simulated providers, all on loopback. `python -m tests.bench --help`.

Nothing here is a test and nothing asserts: a figure depends on the machine. Compare what one run prints side by side, and prefer CPU time and
ratios to requests per second: client, Envoy, server and upstream share the cores.
"""
