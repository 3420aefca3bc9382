"""The book of the API's tests, in each database, for attacks on the service."""

from tests.api.conftest import client, http, service_settings, store  # noqa: F401
