"""Serve HTML pages for people, from the same reads as the REST routes."""
