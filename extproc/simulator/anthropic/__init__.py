"""Anthropic's Messages API, simulated."""
