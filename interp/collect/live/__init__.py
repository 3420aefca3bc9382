"""Activations of a text that a person gives, and text that a feature steers."""
