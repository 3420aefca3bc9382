"""Explanations without a language model: executable rules, written as sentences."""
