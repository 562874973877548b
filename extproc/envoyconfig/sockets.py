"""The transport sockets of a cluster: TLS towards the provider and, around it, an egress proxy that is asked by CONNECT.

The blocks of a cluster's configuration lie over each other. One that names the proxy says nothing against what a lower one says of TLS, so the
two are merged apart.
"""

from __future__ import annotations

from typing import Any

from extproc.envoyconfig import wire
from extproc.envoyconfig.layers import member
from extproc.envoyconfig.merge import merge

Socket = dict[str, Any]


def layered(*blocks: dict[str, Any]) -> tuple[Socket | None, Socket]:
    """(the proxy's socket without what it wraps, or None; the socket towards the provider) of blocks of which later ones lie over earlier ones."""
    proxy: Socket | None = None
    inner: Socket = {}
    for block in blocks:
        outer, own = parts(block.get("transport_socket"))
        if outer is not None:
            proxy = merge(proxy or {}, outer)
        inner = merge(inner, own or {})
    return proxy, inner


def parts(socket: Any) -> tuple[Socket | None, Any]:
    """(the proxy's socket without what it wraps, or None; what is meant for the provider) of one block's `transport_socket`."""
    if member(socket, ("name",)) != wire.PROXY_SOCKET:
        return None, socket
    config = {name: value for name, value in (socket.get("typed_config") or {}).items() if name != "transport_socket"}
    return {**socket, "typed_config": config}, member(socket, ("typed_config", "transport_socket"))


def through(proxy: Socket | None, inner: Socket | None) -> Socket | None:
    """The socket `inner` (None: plain text) behind the proxy."""
    if proxy is None:
        return inner
    return proxy if inner is None else merge(proxy, {"typed_config": {"transport_socket": inner}})


def proxy_address(proxy: Socket | None) -> str | None:
    """The proxy's address, None where there is none that Envoy could use."""
    found = member(proxy, ("typed_config", "default_proxy_address", "socket_address", "address"))
    return found if isinstance(found, str) else None
