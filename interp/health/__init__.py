"""Health of a dictionary: figures of all its features, beside controls."""
