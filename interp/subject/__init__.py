"""The language model under study."""
