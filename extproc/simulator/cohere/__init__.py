"""Cohere's API, version 2, simulated: chat, embed, rerank."""
