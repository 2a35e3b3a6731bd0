"""A worker's own page: whether it lives, whether it works, and how far behind it is, told as it is (design §2).

Faust's page says OK whatever happens, so this one asks the roles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from mnemolog.gateway.health import opens
from mnemolog.runtime.config import Settings
from mnemolog.runtime.metrics import Metrics
from mnemolog.runtime.standing import MEDIA_TYPE, Told, page


class Health:
    """`/health/live`, `/health/ready` and `/metrics` on a port of their own. Hosted like any role."""

    def __init__(self, settings: Settings, roles: Sequence[Told], metrics: Metrics) -> None:
        """Take where to listen, whom to ask, and what is counted."""
        self._where = (settings.host, settings.health_port)
        self._token = settings.metrics_token
        self._roles = roles
        self._figures = metrics
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until stopped."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/health/live", self._live),
                web.get("/health/ready", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, *self._where).start()
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    async def stop(self) -> None:
        """Stop serving."""
        self._stopping.set()

    async def _live(self, request: web.Request) -> web.Response:
        """Say that the event loop turns; a role that fails ends the process, and this page with it."""
        del request
        return web.json_response({"status": "live"})

    async def _ready(self, request: web.Request) -> web.Response:
        """Say for each role and partition whether it works; 503 while any does not, or a role has not joined its group.

        A role without partitions is a spare; that is shown, and is no failure.
        """
        del request
        ready = all(role.joined and not any(c.trouble for c in role.conditions()) for role in self._roles)
        shown = {
            role.name: {str(c.partition): c.trouble or "works" for c in role.conditions()}
            if role.joined
            else "waits for its share of the partitions"
            for role in self._roles
        }
        return web.json_response({"status": "ready" if ready else "not ready", **shown}, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        """Tell the figures in Prometheus' text format, to whoever has the token for them."""
        if not opens(self._token, request.headers.get("Authorization", "")):
            message = "send 'Authorization: Bearer …' with the token that MNEMOLOG_METRICS_TOKEN names\n"
            return web.Response(text=message, status=401, headers={"WWW-Authenticate": "Bearer"})
        shown = await page(self._figures, self._roles)
        return web.Response(body=shown, headers={"Content-Type": MEDIA_TYPE})
