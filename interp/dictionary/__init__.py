"""Sparse dictionaries: one canonical module, and a converter to it for every family of weight files."""
