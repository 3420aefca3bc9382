"""Reads of the API by resource, for routes and the command line.

Each function takes a session and arguments, and returns an answer. Nothing here imports FastAPI, so that a command on a local database starts fast.
"""
