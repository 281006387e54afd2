"""A fair aiohttp proxy, as a careful person would write one in an afternoon: uvloop, one session,
no limit on connections, no access log, bodies passed on as they are, streams chunk by chunk.

    python -m bench.hop.aiohttp_proxy PORT ENGINE_PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


def _end_to_end(headers: object) -> list[tuple[str, str]]:
    pairs = headers.items()  # type: ignore[attr-defined]  # both sides' multidicts
    return [(name, value) for name, value in pairs if name.lower() not in _HOP_BY_HOP]


async def _serve(port: int, engine_port: int) -> None:
    engine = f"http://127.0.0.1:{engine_port}"
    async with ClientSession(
        connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as session:

        async def relay(request: web.BaseRequest) -> web.StreamResponse:
            body = await request.read()
            async with session.request(
                request.method,
                engine + request.raw_path,
                headers=_end_to_end(request.headers),
                data=body or None,
            ) as answer:
                headers = _end_to_end(answer.headers)
                if answer.content_length is not None:
                    return web.Response(
                        status=answer.status, headers=headers, body=await answer.read()
                    )
                response = web.StreamResponse(status=answer.status, headers=dict(headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        server = web.ServerRunner(web.Server(relay, access_log=None))
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
