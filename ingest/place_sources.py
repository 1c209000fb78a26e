"""What is known of addresses: countries, autonomous systems and lists of networks, and newer ones while ingest runs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from analytics_core.asns import AsnLookup, open_asns
from analytics_core.clock import Clock, SystemClock
from analytics_core.errors import ConfigError
from analytics_core.geo import CountryLookup, open_countries
from analytics_core.networks import NetworkLists, load_network_lists
from analytics_core.settings import IngestSettings

__all__ = ("PlaceSources", "PlacesWatch", "open_places")

_SUFFIXES: Final = (".txt", ".csv")

_State: TypeAlias = tuple[tuple[str, int, int, int], ...]


class PlaceSources(NamedTuple):
    """What addresses are looked up in."""

    countries: CountryLookup
    asns: AsnLookup
    networks: NetworkLists


def open_places(settings: IngestSettings, *, clock: Clock | None = None) -> PlaceSources:
    """Open all that the settings name.

    Args:
        settings: Where lists and databases are.
        clock: The time; a validation of a shared address cannot lie ahead of it.

    Raises:
        ConfigError: Something cannot be used; a list's file and line are named.
    """
    try:
        today = (clock or SystemClock()).now().astimezone(dt.UTC).date()
        networks = load_network_lists(settings.lists_dir, today=today)
    except (ValueError, OSError) as error:
        raise ConfigError([f"CASTLEDGER_LISTS_DIR: {error}"]) from error
    countries = open_countries(settings.countries_path, cities=settings.cities)
    return PlaceSources(countries, open_asns(settings.asns_path), networks)


class PlacesWatch:
    """Opens what has been replaced on the disk; what cannot be used leaves in force what was there before.

    Args:
        settings: Where lists and databases are.
        clock: The time.
    """

    def __init__(self, settings: IngestSettings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._opened = self._seen = self._look()
        self.fault: str | None = None
        """Why what is on the disk now is not in force; ``None`` while it is."""

    def look(self) -> PlaceSources | None:
        """Open what has changed, once it has stayed as it is from one look to the next: it may be on its way.

        Blocks for as long as reading takes. Raises nothing.

        Returns:
            What is to be used from here on; ``None`` where nothing has changed or it cannot be used.
        """
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._opened:
            return None
        self._opened = self._seen
        try:
            found = open_places(self._settings, clock=self._clock)
        except ConfigError as error:
            self.fault = f"{'; '.join(error.faults)}; what was read before stays in force"
            return None
        if self._look() != self._opened:
            # Replaced while it was read: the next looks will see.
            return None
        self.fault = None
        return found

    def _look(self) -> _State:
        folder, databases = self._settings.lists_dir, (self._settings.countries_path, self._settings.asns_path)
        paths: list[Path] = [path for path in databases if path is not None]
        if folder.is_dir():
            paths += [path for path in folder.iterdir() if path.suffix in _SUFFIXES]
        found = []
        for path in sorted(paths):
            try:
                status = path.stat()
            except OSError:
                # Gone, or being replaced.
                found.append((str(path), -1, 0, 0))
            else:
                found.append((str(path), status.st_size, status.st_mtime_ns, status.st_ino))
        return tuple(found)
