"""Where health and metrics of every service are served."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from analytics_core.settings.parsing import Spec, any_text

_ADMIN_DEFAULTS: Final = {"tracker": 8081, "api": 8082, "ingest": 8083, "collector": 8084}


def _admin_ports(text: str) -> dict[str, int]:
    ports = dict(_ADMIN_DEFAULTS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, port = part.partition("=")
        if name not in ports or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
            raise ValueError("pairs such as tracker=8081,api=8082,ingest=8083,collector=8084")
        ports[name] = int(port)
    return ports


ADMIN: Final = {
    "host": Spec("CASTLEDGER_ADMIN_HOST", any_text, "127.0.0.1", "Address of every service's health and metrics."),
    "ports": Spec(
        "CASTLEDGER_ADMIN_PORTS",
        _admin_ports,
        ",".join(f"{name}={port}" for name, port in _ADMIN_DEFAULTS.items()),
        "Ports of health and metrics, a service each.",
    ),
}


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where health and metrics are served."""

    host: str
    ports: dict[str, int]
