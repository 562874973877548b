"""Ollama's own API, simulated: chat, generate, embed, tags."""
