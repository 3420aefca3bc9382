"""Sparse dictionaries: a canonical module, and a converter per family of weight files."""
