"""Figures of a dictionary on a sample of tokens, and what is wrong with it."""
