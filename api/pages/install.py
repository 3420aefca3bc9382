"""Add the pages to an application."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.http import pages
from api.pages import compare, dictionary, feature, feature_map, features, home, jobs, review, search
from api.pages.problem_pages import ProblemPages
from api.pages.rendering import NAVIGATION

# Every router of pages, in the order in which routes are tried.
ROUTERS = (
    home.router,
    dictionary.router,
    feature_map.router,
    features.router,
    feature.router,
    jobs.router,
    search.router,
    compare.router,
    review.router,
    pages.router,
)


def install(app: FastAPI) -> None:
    """Include the pages; their navigation has the entries whose page is there."""
    for router in ROUTERS[:-1]:
        app.include_router(router)
    pages.install(app)
    paths = {route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)}
    app.state.navigation = tuple(entry for entry in NAVIGATION if entry.path in paths)


def add_middleware(app: FastAPI) -> None:
    """Answer browsers' problems with pages."""
    app.add_middleware(ProblemPages)
