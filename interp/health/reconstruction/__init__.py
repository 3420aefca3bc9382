"""Reconstructions of a dictionary, by themselves and in the forward pass of its subject."""
