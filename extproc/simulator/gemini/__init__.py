"""The Gemini API and Vertex AI, simulated."""
