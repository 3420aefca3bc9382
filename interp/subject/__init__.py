"""The model under study, and the corpus as token rows."""
