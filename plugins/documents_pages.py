"""Pages *dbt docs* and *Data Docs* in the Airflow UI, behind Airflow's own authentication.

A `StaticFiles` mount would answer anonymous requests even under an authenticated app, so files go through a route.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/documents"


async def documents(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application; built on the first request, since every Airflow process imports this module."""
    await _app()(scope, receive, send)


@cache
def _app() -> Any:
    from airflow.api_fastapi.core_api.security import requires_authenticated
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import FileResponse, HTMLResponse, Response

    from coinswarm.documents import document
    from coinswarm.errors import UserError

    app = FastAPI(
        title="Coinswarm documents",
        dependencies=[Depends(requires_authenticated())],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )

    @app.get("/{kind}/{name:path}")
    def serve(kind: str, name: str) -> Response:
        try:
            return FileResponse(document(kind, name or "index.html"))
        except FileNotFoundError:
            if name not in ("", "index.html", "static_index.html"):
                raise HTTPException(404, "no such document") from None
            return HTMLResponse("<p>Nothing is rendered yet: the DAG <b>publish_docs</b> writes these pages.</p>")
        except UserError as error:
            raise HTTPException(404, str(error)) from None

    return app


class DocumentsPages(AirflowPlugin):
    """Registers the application and its two menu entries."""

    name = "coinswarm_documents"
    fastapi_apps = [{"app": documents, "url_prefix": PREFIX, "name": "Coinswarm documents"}]
    external_views = [
        {
            "name": "dbt docs",
            "href": f"{PREFIX}/dbt_docs/static_index.html",
            "destination": "nav",
            "category": "browse",
            "url_route": "dbt-docs",
        },
        {
            "name": "Data Docs",
            "href": f"{PREFIX}/data_docs/index.html",
            "destination": "nav",
            "category": "browse",
            "url_route": "data-docs",
        },
    ]
