"""Settings of the API, and of how people come in."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.settings.parsing import (
    Network,
    Secret,
    Spec,
    any_text,
    boolean,
    choice,
    file_path,
    host_names,
    integer,
    networks,
    origins,
    parse_public_url,
    secrets,
)


class Registration(enum.Enum):
    """Who may become somebody here."""

    CLOSED = "closed"
    OPEN = "open"


API: Final = {
    "host": Spec("CASTLEDGER_API_HOST", any_text, "0.0.0.0", "Address that the API listens on."),  # noqa: S104
    "port": Spec("CASTLEDGER_API_PORT", integer(0, 65535), "8000", "Port of the API; 0 takes a free one."),
    "max_body_mb": Spec("CASTLEDGER_API_MAX_BODY_MB", integer(1, 200), "20", "Largest request body, in MiB."),
    "rate": Spec(
        "CASTLEDGER_API_RATE",
        integer(0, 600_000),
        "600",
        "Units a minute for each key or person; most requests cost one (docs/limits.md). 0 sets no limit.",
    ),
    "burst": Spec(
        "CASTLEDGER_API_BURST", integer(1, 10_000), "120", "Units that each of them may spend at once after a rest."
    ),
    "network_rate": Spec(
        "CASTLEDGER_API_NETWORK_RATE",
        integer(0, 10_000),
        "60",
        "Units a minute for each IPv4 address or IPv6 /64 whose requests show no valid key. 0 sets no limit.",
    ),
    "trusted_proxies": Spec(
        "CASTLEDGER_API_TRUSTED_PROXIES",
        networks,
        "",
        "Networks whose X-Forwarded-For the API believes; by default those of TRACKER_TRUSTED_PROXIES.",
    ),
    "hosts": Spec(
        "CASTLEDGER_API_HOSTS",
        host_names,
        "",
        "Names under which the API answers, separated by commas; others get 421. By default it answers under any.",
    ),
    "origins": Spec(
        "CASTLEDGER_API_ORIGINS",
        origins,
        "",
        "Web pages of others that may ask the API, such as https://dash.example.com, separated by commas.",
    ),
    "profiles": Spec(
        "CASTLEDGER_PROFILES",
        file_path,
        "",
        "A file (.toml) of counting profiles of your own, to compare with and to judge days by; docs/methodology.md "
        "says what it holds.",
    ),
}


PEOPLE: Final = {
    "jwt_secrets": Spec(
        "JWT_SECRET",
        secrets,
        "",
        "What access tokens are signed with: 32 random bytes or more; several separated by commas, of which the first "
        "signs. By default one that is made and kept in the data folder.",
        secret=True,
    ),
    "registration": Spec(
        "CASTLEDGER_REGISTRATION",
        choice(Registration),
        "closed",
        "`closed`: people come by invitation, or are added by the operator; `open`: anybody may register.",
    ),
    "self_service": Spec(
        "CASTLEDGER_SELF_SERVICE",
        boolean,
        "false",
        "Whether somebody who belongs to no tenant may make one, whose owner they are (docs/tenants.md).",
    ),
    "bcrypt_cost": Spec(
        "CASTLEDGER_BCRYPT_COST",
        integer(4, 16),
        "12",
        "Work that a password's hash takes; one more doubles it. Hashes made with less are renewed at sign-in.",
    ),
    "public_url": Spec(
        "CASTLEDGER_PUBLIC_URL",
        parse_public_url,
        "",
        "The address of the API and the page, such as https://ledger.example.com: links in mail begin with it.",
    ),
}


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The API's listener and bounds."""

    host: str
    port: int
    max_body_mb: int
    rate: int
    burst: int
    network_rate: int
    trusted_proxies: tuple[Network, ...]
    hosts: frozenset[str]
    origins: frozenset[str]
    profiles: Path | None


class PeopleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How people come in."""

    jwt_secrets: tuple[Secret, ...]
    registration: Registration
    self_service: bool
    bcrypt_cost: int
    public_url: str
