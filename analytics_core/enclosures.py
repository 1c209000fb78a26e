"""What an enclosure is, whoever stands in front of it: prefix services, client parameters and the key of a target."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote, unquote_to_bytes
from uuid import UUID

import msgspec

from analytics_core.errors import InvalidInput

__all__ = (
    "MEDIA_EXTENSIONS",
    "EnclosureIdentity",
    "PrefixArguments",
    "find_own_prefix",
    "identify",
    "is_plain",
    "media_extension",
    "parse_prefix_arguments",
    "prefix_url",
)

MAX_CHAIN: Final = 12
"""More prefixes than that in front of one enclosure are an attack: the most that was seen in a feed is 11."""

MEDIA_EXTENSIONS: Final = frozenset(
    ("mp3", "m4a", "m4b", "mp4", "m4v", "mov", "aac", "ogg", "oga", "opus", "flac", "wav", "webm", "m3u8")
)

# One alternative a service: host and path up to where the next target begins.
_SERVICES: Final = (
    r"op3\.dev/e(?:,[^/]*)?/",
    r"(?:dts|www|play)\.podtrac\.com(?:/pts)?/redirect\.[a-z0-9]+/",
    r"play\.podtrac\.com/[^/]+/",
    r"pdst\.fm/e/",
    r"(?:chrt\.fm|chtbl\.com|podcast-rss-prefix\.spotify\.com)/track/[^/]+/",
    r"prfx\.byspotify\.com/e/",
    r"pfx\.veritonicmetrics\.com/[^/]+/",
    r"arttrk\.com/p/[^/]+/",
    r"pdcn\.co/e/",
    r"2\.gum\.fm/",
    r"s\.gum\.fm/(?:r1/|s-)[0-9a-f]+/",
    r"(?:verifi\.podscribe\.com|pscrb\.fm|suprefix\.fm)/rss/p/",
    r"(?:www\.)?claritaspod\.com/measure/",
    r"clrtpod\.com/m/",
    r"growx\.podkite\.com/https?/[^/]+/",
    r"media\.blubrry\.com/[^/]+/(?:p/)?",
    r"mgln\.ai/(?:track|e/[^/]+)/",
    r"p\.podderapp\.com/\d+/",
    r"r\.(?:zen\.ai|zencastr\.com)/r/",
    r"t\.glystn\.com/v2/track/[^/]+/",
    r"adbarker\.com/stream/[^/]+/",
    r"letscast\.fm/track/",
    r"pfx\.vpixl\.com/[^/]+/",
    r"bktrks\.co/t/[^/]+/",
    r"(?:rss\.)?pdrl\.fm/(?:r/[^/]+/[^/]+|[^/]+)/",
    r"a\.pdcst\.to/[^/]+/",
    r"ipfspodcasting\.net/e/",
    r"cohst\.app/pdcst/[^/]+/",
    r"(?:tracking\.)?swap\.fm/track/[^/]+/",
    r"pdcds\.co/[^/]+/",
    r"prefix\.up\.audio/s/",
    r"m\.pfxes\.com/[^/]+/",
    r"pp\d+\.[^/]+/protect/[^/]+/",
    r"enrichment\.soundstack\.com/[^/]+/",
    r"analytics\.podcastplusplus\.com/e/",
    r"track\.fstry\.me/p/[^/]+/",
    r"tr\.ausha\.co/[^/]+/",
)
_SERVICE: Final = re.compile("|".join(_SERVICES))
_OWN: Final = re.compile(r"[^/]+/+e(?:,[^/]*|/pg=[^/]*)?/+")
_SCHEME: Final = re.compile(r"(https?)(?::|%3[aA])(?:/|%2[fF]){1,2}/*", re.IGNORECASE)
_ENCODED: Final = re.compile(r"https?%3a%2f%2f", re.IGNORECASE)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^/?#@\[\]:\\]+)(?::(\d{1,5}))?(?=[/?#]|$)")
_HOST_LIKE: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+\.?(?::\d{1,5})?/[^/?#]")
# A host in lower case and a path without anything that has a second spelling: what most feeds give.
_PLAIN: Final = re.compile(rb"([a-z0-9_-]+(?:\.[a-z0-9_-]+)+)((?:/[A-Za-z0-9._~+,=@-]+)+)")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_RAW: Final = re.compile(rb"[^\x21-\x7e]")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CLIENT_PARAMETERS: Final = frozenset(
    (
        *("dist", "tgt", "maxservers"),
        *("played_on", "source", "client_source", "referrer", "ref", "from", "src", "acid", "av", "lo"),
        *("consumer_key", "country", "fbclid", "rss_browser", "rn"),
        *("companionads", "calendar", "sdkiad"),
    )
)
_PODCAST_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class EnclosureIdentity(msgspec.Struct, frozen=True):
    """What stays the same of an enclosure when prefixes, schemes and client parameters come and go.

    Attributes:
        text: Host, path and query of the innermost target, normalised.
        key: BLAKE2b-128 of ``text``.
        bare_key: The same without the whole query.
        file_name: The path's last segment, decoded, in lower case; may be empty.
        hosts: Every host of the chain but ours, outermost first, in lower case, without port.
        innermost: The innermost target as an address, not normalised.
    """

    text: str
    key: UUID
    bare_key: UUID
    file_name: str
    hosts: tuple[str, ...]
    innermost: str


class PrefixArguments(msgspec.Struct, frozen=True):
    """What stands between ``/e,`` and the next slash, as far as we know it."""

    podcast_guid: UUID | None = None


def _key(text: str) -> UUID:
    return UUID(bytes=hashlib.blake2b(text.encode(), digest_size=16).digest())


def _unescape(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _is_client_parameter(pair: str) -> bool:
    name, _, value = pair.partition("=")
    name = name.lower()
    return (
        name.startswith(("_", "aw_"))
        or name in _CLIENT_PARAMETERS
        or (name == "download" and value.lower() == "true")
        or not pair
    )


def _split(text: str) -> tuple[str, str, str, str]:
    """Split a target into scheme, host, port (empty for the usual ones) and what follows."""
    scheme = "https"
    match = _SCHEME.match(text)
    if match is not None:
        scheme = match[1].lower()
        text = text[match.end() :]
    text = text.lstrip("/")
    host = _HOST.match(text)
    if host is None:
        raise InvalidInput("url", "an enclosure is an http or https address with a host")
    name = host[1].lower().rstrip(".")
    port = host[2] or ""
    if not name or name.startswith("."):
        raise InvalidInput("url", "an enclosure's host is empty")
    return scheme, name, "" if port in ("80", "443") else port, text[host.end() :]


def is_plain(target: bytes, *, own_hosts: Collection[str] = ()) -> bool:
    """Say whether a target is its own normalised text: a host and a path, with nothing in front and no second spelling.

    Then its key is BLAKE2b-128 of its bytes, which :func:`identify` finds too, at several times the work.

    >>> [is_plain(target) for target in (b"cdn.example.com/a.mp3", b"cdn.example.com/a.mp3?x", b"pdst.fm/e/a.org/b")]
    [True, False, False]
    """
    plain = _PLAIN.fullmatch(target)
    return plain is not None and plain[1].decode() not in own_hosts and _SERVICE.match(target.decode()) is None


def identify(raw: bytes | str, *, own_hosts: Collection[str] = ()) -> EnclosureIdentity:
    """Tell which enclosure a target or an enclosure's URL means.

    Known prefix services are stripped, ours included; parameters that players add are left out; ``http`` and
    ``https``, the usual ports, the host's case and the spelling of escapes make no difference.

    Args:
        raw: What stands behind ``/e…/``, or a whole URL; the scheme may be missing, encoded or have lost a slash.
        own_hosts: Host names (lower case) whose ``/e…/`` is ours.

    Raises:
        InvalidInput: It is no web address with a host, or has more than ``MAX_CHAIN`` prefixes.

    Source:
        ``docs/methodology.md``, "Which episode a target belongs to".

    >>> identify("https://op3.dev/e,pg=x/dts.podtrac.com/redirect.mp3/Example.com:443/%7Ea.mp3?_from=x").text
    'example.com/~a.mp3'
    >>> identify(b"pdst.fm/e/cdn.example.com/a.mp3").hosts
    ('pdst.fm', 'cdn.example.com')
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if is_plain(data, own_hosts=own_hosts):
        # A tenth of the work, for a catalogue of which no cache holds much.
        text = data.decode()
        key = _key(text)
        file_name = text.rpartition("/")[2].lower()[:255]
        return EnclosureIdentity(text, key, key, file_name, (text.partition("/")[0],), f"https://{text}")
    text = _RAW.sub(lambda match: b"%%%02X" % match[0][0], data.strip()).decode("ascii")
    if re.match(r"(?!https?:)[A-Za-z][A-Za-z0-9+.-]*://", text, re.IGNORECASE):
        raise InvalidInput("url", "an enclosure is an http or https address")
    hosts: list[str] = []
    for _ in range(MAX_CHAIN + 1):
        scheme, host, port, rest = _split(text)
        own = host in own_hosts
        if not own:
            hosts.append(host)
        # The slash after a host may be missing altogether; a service is known only by what follows it.
        joined = f"{host}{rest if rest.startswith('/') else '/' + rest}"
        match = _OWN.match(joined) if own else _SERVICE.match(joined)
        inner = joined[match.end() :].lstrip("/") if match is not None else ""
        if _ENCODED.match(inner):
            head, mark, query = inner.partition("?")
            inner = unquote(head) + mark + query
        # Behind our own prefix stands whatever we handed out; behind another's, only what looks like a target.
        if match is None or not (_SCHEME.match(inner) or (inner if own else _HOST_LIKE.match(inner))):
            break
        text = inner
    else:
        raise InvalidInput("url", f"more than {MAX_CHAIN} prefixes stand in front of the enclosure")
    path, _, query = rest.partition("#")[0].partition("?")
    slip = re.search(r"%3[fF](?=_from=)", path)
    if slip is not None:
        path = path[: slip.start()]
    path = _ESCAPE.sub(_unescape, path or "/")
    kept = [pair for pair in query.split("&") if not _is_client_parameter(pair)]
    bare = f"{host}{':' + port if port else ''}{path}"
    whole = f"{bare}?{_ESCAPE.sub(_unescape, '&'.join(kept))}" if kept else bare
    file_name = unquote_to_bytes(path.rsplit("/", 1)[-1]).decode("utf-8", "replace").lower()[:255]
    innermost = f"{scheme}://{host}{':' + port if port else ''}{rest}"
    return EnclosureIdentity(whole, _key(whole), _key(bare), file_name.replace("\x00", ""), tuple(hosts), innermost)


def parse_prefix_arguments(raw: bytes | str) -> PrefixArguments:
    """Read a prefix's arguments; what is unknown or malformed is ignored.

    >>> parse_prefix_arguments("x=1,pg=9B024349-ccf0-5f69-a609-6b82873eab3c").podcast_guid
    UUID('9b024349-ccf0-5f69-a609-6b82873eab3c')
    >>> parse_prefix_arguments(b"pg=nonsense").podcast_guid is None
    True
    """
    text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        if name.strip() == "pg" and _PODCAST_GUID.fullmatch(value.strip()):
            return PrefixArguments(UUID(value.strip()))
    return PrefixArguments()


def find_own_prefix(url: str, *, public_url: str) -> PrefixArguments | None:
    """Find our prefix in an enclosure's URL, wherever in the chain it stands, behind services that we do not know too.

    Args:
        url: An enclosure's URL as a feed gives it.
        public_url: Our tracker's address.

    Returns:
        What the outermost prefix of ours says; ``None`` when there is none.

    >>> find_own_prefix("https://new.example/x/POD.example.com/e/cdn.example.com/a.mp3", public_url="https://pod.example.com")
    PrefixArguments(podcast_guid=None)
    >>> find_own_prefix("https://pod.example.com/episodes/a.mp3", public_url="https://pod.example.com") is None
    True
    """
    try:
        _, host, port, path = _split(public_url)
    except InvalidInput:
        return None
    ports = f":{port}" if port else "(?::(?:80|443))?"
    own = (
        rf"(?:^|/){re.escape(host)}\.?{ports}{re.escape(path.rstrip('/'))}/+e(?:,(?P<told>[^/]*)|/(?P<slip>pg=[^/]*))?/"
    )
    match = re.search(own, unquote(url.partition("?")[0]), re.IGNORECASE)
    return None if match is None else parse_prefix_arguments(match["told"] or match["slip"] or "")


def prefix_url(public_url: str, podcast_guid: UUID, enclosure_url: str) -> str:
    """Put our prefix in front of an enclosure's URL; its path and query stay byte for byte.

    Args:
        public_url: Our tracker's address, without a trailing slash.
        podcast_guid: Names the podcast in the prefix.
        enclosure_url: An ``http`` or ``https`` address.

    Returns:
        The prefixed address; one that already has this very prefix is returned as it is.

    Raises:
        InvalidInput: *enclosure_url* is no web address.

    >>> guid = UUID("9b024349-ccf0-5f69-a609-6b82873eab3c")
    >>> prefix_url("https://pod.example.com", guid, "https://cdn.example.com/a.mp3?x=1")
    'https://pod.example.com/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/cdn.example.com/a.mp3?x=1'
    """
    prefix = f"{public_url}/e,pg={podcast_guid}/"
    if enclosure_url.startswith(prefix):
        return enclosure_url
    match = re.match(r"(https?)://(?=[^/])", enclosure_url, re.IGNORECASE)
    if match is None:
        raise InvalidInput("url", "only http and https enclosures can be prefixed")
    rest = enclosure_url[match.end() :]
    return f"{prefix}{'http://' if match[1].lower() == 'http' else ''}{rest}"


def media_extension(path: str) -> bool:
    """Tell whether a path ends like audio or video.

    >>> media_extension("/a/B.MP3"), media_extension("/a/mp3")
    (True, False)
    """
    _, dot, extension = path.rsplit("/", 1)[-1].rpartition(".")
    return bool(dot) and extension.lower() in MEDIA_EXTENSIONS
