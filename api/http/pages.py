"""Serve HTML pages of the OpenAPI document and problems, without files of other hosts."""

from html import escape
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from api.http.access.scopes import public
from api.http.edge.security_headers import policy_of
from api.schemas.service import ProblemKind

STATIC = Path(__file__).parents[1] / "static"
ASSETS = "/static/swagger-ui"
# Otherwise Swagger UI sends the document's address to an external validator.
SETTINGS = {"validatorUrl": None}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
td {{ padding-right: 1rem; vertical-align: top }}
</style>
</head><body>
{body}
</body></html>
"""

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.include_router(router)


@router.get("/docs")
@public
def get_docs() -> HTMLResponse:
    """Return Swagger UI, from files of the package."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Glossator: REST API",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
        swagger_ui_parameters=SETTINGS,
    )
    page.headers["Content-Security-Policy"] = policy_of(bytes(page.body).decode(), has_files=True)
    return page


def prefers_html(accept: str) -> bool:
    """Return whether the Accept header is a browser's; programs get JSON."""
    kinds = [part.partition(";")[0].strip() for part in accept.split(",")]
    return "text/html" in kinds and not any(kind.startswith("application/json") for kind in kinds[: kinds.index("text/html")])


def problem_page(kind: ProblemKind) -> HTMLResponse:
    """Return the page of one problem."""
    body = (
        f"<h1>{escape(kind.title)}</h1>\n<p><code>{escape(kind.code)}</code>, HTTP status {kind.status}</p>\n<p>{escape(kind.explanation)}</p>\n"
        "<p>The answer itself says what happened (<code>detail</code>), why (<code>why</code>), and what to do about it (<code>cure</code>).</p>\n"
        '<p><a href="/problems">All problems</a>, <a href="/docs">all endpoints</a></p>'
    )
    return _page(escape(kind.title), body)


def problems_page(kinds: list[ProblemKind]) -> HTMLResponse:
    """Return the page of all problems."""
    row = '<tr><td><a href="/problems/{code}">{code}</a></td><td>{status}</td><td>{title}</td></tr>'
    rows = "\n".join(row.format(code=escape(kind.code), status=kind.status, title=escape(kind.title)) for kind in kinds)
    return _page("Problems", f"<h1>Problems</h1>\n<table>\n{rows}\n</table>")


def _page(title: str, body: str) -> HTMLResponse:
    page = PAGE.format(title=title, body=body)
    return HTMLResponse(page, headers={"Content-Security-Policy": policy_of(page)})
