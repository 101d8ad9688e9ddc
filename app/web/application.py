"""The application: every capability's routes, one error contract, and the edge around it."""

import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from app.access.audit_routes import audit_handlers
from app.access.key_routes import key_handlers
from app.access.networks import Networks
from app.access.route_guards import access_dependencies
from app.access.signing_key_routes import active_signing_key, signing_key_handlers, unknown_signing_key
from app.bundles.format import BundleError
from app.config import Config
from app.consensus.errors import ConsensusError
from app.consensus.routes import consensus_handlers, consensus_problem
from app.federation.bundle_routes import bundle_import_handlers
from app.federation.errors import FederationError
from app.federation.routes import federation_handlers, federation_problem
from app.fleet.routes import fleet_handlers
from app.http.envelope import Answer
from app.http.problem import Problem
from app.http.requests import StrictRequest, read_query
from app.http.services import inject_directly, services
from app.intel.indicators.routes import indicator_handlers
from app.intel.reporter import intel_dependencies
from app.intel.reports.routes import report_handlers
from app.intel.routes import statistics_handlers
from app.intel.skills.routes import skill_handlers
from app.intel.telemetry.routes import telemetry_handlers
from app.overlay.errors import OverlayError
from app.overlay.routes import overlay_handlers, overlay_problem
from app.privacy.routes import subject_handlers
from app.publication.bundle_routes import bundle_export_handlers, bundle_problem
from app.publication.errors import PublicationError
from app.publication.polled_routes import distribution_handlers
from app.publication.routes import publication_handlers, publication_problem
from app.rules.local import LocalRuleError
from app.rules.routes import local_rule_problem, rules_handlers
from app.sandbox import SandboxClosed
from app.signing.keys import ActiveSigningKey, UnknownSigningKey
from app.storage import StorageUnavailable
from app.web.api_page import page_handlers
from app.web.asgi import App, Receive, Scope, Send
from app.web.edge import Cors, Edge, options_handlers
from app.web.errors import (
    on_defect,
    on_http_exception,
    on_problem,
    on_sandbox_closed,
    on_storage_unavailable,
    refused_as,
)
from app.web.health import health_handlers
from app.web.lifespan import opened
from app.web.logs import AccessLog
from app.web.metrics import metrics
from app.web.openapi import openapi_options, show_document
from app.web.supervision.notify import NOBODY, Supervisor, watched

log = logging.getLogger(__name__)


DEPENDENCIES: Mapping[str, Provide] = {
    **access_dependencies,
    **intel_dependencies,
    **services(
        "config",
        "consensus",
        "federation",
        "fleet",
        "freshness",
        "gatekeeper",
        "indicators",
        "local_rules",
        "inspect_sandbox",
        "overlays",
        "pseudonyms",
        "publisher",
        "pull_counter",
        "reports",
        "signing_keys",
        "skills",
        "started_at",
        "statistics",
        "storage",
        "subjects",
        "telemetry",
        "write_check",
    ),
}
"""What a handler of any capability may name in its signature."""

ERROR_HANDLERS: dict[int | type[Exception], Any] = {
    Problem: on_problem,
    ConsensusError: refused_as(consensus_problem),
    PublicationError: refused_as(publication_problem),
    BundleError: refused_as(bundle_problem),
    FederationError: refused_as(federation_problem),
    OverlayError: refused_as(overlay_problem),
    UnknownSigningKey: refused_as(unknown_signing_key),
    ActiveSigningKey: refused_as(active_signing_key),
    LocalRuleError: refused_as(local_rule_problem),
    HTTPException: on_http_exception,
    StorageUnavailable: on_storage_unavailable,
    SandboxClosed: on_sandbox_closed,
    Exception: on_defect,
}
"""How each family of errors is answered; no handler catches one to turn it into a refusal."""


def serve_handlers(handlers: Sequence[HTTPRouteHandler], **options: Any) -> Litestar:
    """Return the Litestar application of these handlers: how they get what they name, and how they are answered."""
    app = Litestar(
        route_handlers=handlers,
        request_class=StrictRequest,
        before_request=read_query,
        response_class=Answer,
        dependencies=DEPENDENCIES,
        exception_handlers=ERROR_HANDLERS,
        **openapi_options(),
        logging_config=None,
        debug=False,
        **options,
    )
    inject_directly(app)
    return app


class Application:
    """What gunicorn serves: the edge, with the Litestar application inside (`litestar`)."""

    def __init__(self, litestar: Litestar, edge: Edge) -> None:
        self.litestar = litestar
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or run the lifespan."""
        await self._edge(scope, receive, send)


def create_application(
    config: Config, *, serving: bool = True, supervisor: Supervisor = NOBODY
) -> Application:
    """Build the application; nothing is opened before its lifespan starts, and then the supervisor is told."""
    access_log = AccessLog(sys.stderr.buffer if serving and config.log.requests else None)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with (
            opened(app, config, serving=serving),
            watched(supervisor, app.state.storage, app.state.publisher),
        ):
            yield
        access_log.flush()

    handlers = [
        *health_handlers,
        metrics,
        show_document,
        *page_handlers,
        *key_handlers,
        *audit_handlers,
        *signing_key_handlers,
        *consensus_handlers,
        *federation_handlers,
        *overlay_handlers,
        *distribution_handlers,
        *publication_handlers,
        *rules_handlers,
        *bundle_export_handlers,
        *bundle_import_handlers,
        *report_handlers,
        *skill_handlers,
        *indicator_handlers,
        *subject_handlers,
        *fleet_handlers,
        *telemetry_handlers,
        *statistics_handlers,
    ]
    litestar = serve_handlers(
        [*options_handlers(handlers), *handlers],
        lifespan=[lifespan],
        request_max_body_size=config.server.max_body_bytes,
    )
    edge = Edge(
        cast("App", litestar),
        trusted_proxies=Networks.parse(config.access.trusted_proxies),
        body_seconds=config.server.body_seconds,
        access_log=access_log,
        cors=Cors(config.access.cors_origins) if config.access.cors_origins else None,
    )
    return Application(litestar, edge)
