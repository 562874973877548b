"""LLM sidecar for Envoy: an ext_proc server that routes LLM requests and translates between API dialects."""

__version__ = "0.1.0"
