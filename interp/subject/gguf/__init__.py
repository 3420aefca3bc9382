"""Subjects in GGUF files."""
