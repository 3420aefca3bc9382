"""Explain without a language model, by executable rules, written as sentences."""
