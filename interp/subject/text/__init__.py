"""Tokenizer of a subject, from its files."""
