"""What the API reads, by resource: a session and arguments in, an answer out. Routes and the command line call the same functions.

Nothing here imports FastAPI: a command that reads a local database starts without it.
"""
