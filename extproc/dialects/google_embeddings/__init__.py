"""Google's two embeddings formats: `embedContent` of the Gemini API and of Vertex AI, and Vertex AI's older `predict`."""

from __future__ import annotations

from extproc.dialects.google_embeddings.embed_content import GeminiEmbeddings
from extproc.dialects.google_embeddings.predict import VertexEmbeddings

__all__ = ["GeminiEmbeddings", "VertexEmbeddings"]
