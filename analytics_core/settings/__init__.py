"""The only reader of the environment: every setting with its variable, its default and its meaning.

Each part has a module: a frozen struct, and a table that gives each field its variable; ``docs/configuration.md`` is
generated from them. :func:`load_settings` reports every fault at once, so that a service is mended in one go.
"""

from __future__ import annotations

from analytics_core.settings.admin import AdminSettings
from analytics_core.settings.api import ApiSettings, PeopleSettings, Registration
from analytics_core.settings.collector import CollectorSettings
from analytics_core.settings.ingest import FeedSettings, IngestSettings, ListMode
from analytics_core.settings.loading import Service, Settings, default_data_dir, load_settings, variables
from analytics_core.settings.mail import MailSettings
from analytics_core.settings.parsing import Network, Secret, Variable, parse_public_url
from analytics_core.settings.stores import DatabaseSettings, RedisSettings, Storage
from analytics_core.settings.tracker import HostPolicyMode, SyncMode, TrackerSettings

__all__ = (
    "AdminSettings",
    "ApiSettings",
    "CollectorSettings",
    "DatabaseSettings",
    "FeedSettings",
    "HostPolicyMode",
    "IngestSettings",
    "ListMode",
    "MailSettings",
    "Network",
    "PeopleSettings",
    "RedisSettings",
    "Registration",
    "Secret",
    "Service",
    "Settings",
    "Storage",
    "SyncMode",
    "TrackerSettings",
    "Variable",
    "default_data_dir",
    "load_settings",
    "parse_public_url",
    "variables",
)
