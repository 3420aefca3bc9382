"""A client's address is what trusted proxies say, never what clients say."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from api.http.edge.client_address import MAX_HOPS, TrustedProxies, parsed
from interp.config.settings import Settings
from interp.domain.errors import SettingsInvalidError

PROXY, INNER, CLIENT, FORGED = "10.0.0.1", "10.0.0.2", "203.0.113.7", "198.51.100.9"
HEADERS = {"x-forwarded-for": "{}", "forwarded": 'for="{}"'}


def proxies(header: str = "x-forwarded-for", networks: str = "10.0.0.0/8") -> TrustedProxies:
    return TrustedProxies.of(Settings(database_url="sqlite://", trusted_proxies=networks, forwarded_header=header))


def sent(*values: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in values])


def client(peer: str, *values: tuple[str, str], header: str = "x-forwarded-for", networks: str = "10.0.0.0/8") -> tuple[str, str | None]:
    found = proxies(header, networks).client(peer, sent(*values))
    return str(found.address), found.scheme


@pytest.mark.parametrize("header", HEADERS)
def test_a_client_says_nothing_of_itself(header: str) -> None:
    """Neither to a server without a proxy, nor beside one, nor through one that appends."""
    forged = (header, HEADERS[header].format(FORGED))
    assert client(CLIENT, forged, ("x-forwarded-proto", "https"), header=header, networks="") == (CLIENT, None)
    assert client(CLIENT, forged, ("x-forwarded-proto", "https"), header=header) == (CLIENT, None)
    appended = f"{HEADERS[header].format(FORGED)}, {HEADERS[header].format(CLIENT)}"
    assert client(PROXY, (header, appended), header=header)[0] == CLIENT
    assert client(PROXY, forged, (header, HEADERS[header].format(CLIENT)), header=header)[0] == CLIENT


def test_the_other_header_is_not_read() -> None:
    """A proxy passes on what it does not write itself."""
    assert client(PROXY, ("forwarded", f"for={FORGED}"))[0] == PROXY
    assert client(PROXY, ("x-forwarded-for", FORGED), header="forwarded")[0] == PROXY
    assert client(PROXY, ("x-forwarded-proto", "https"), ("forwarded", f"for={CLIENT}"), header="forwarded") == (CLIENT, None)


def test_trusted_proxies_in_a_row_are_passed() -> None:
    assert client(PROXY, ("x-forwarded-for", f"{FORGED}, {CLIENT}, {INNER}"))[0] == CLIENT
    assert client(PROXY, ("x-forwarded-for", f"10.0.0.9, {INNER}"))[0] == "10.0.0.9"


def test_the_scheme_comes_with_the_address() -> None:
    assert client(PROXY, ("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https")) == (CLIENT, "https")
    assert client(PROXY, ("x-forwarded-for", f"{CLIENT}, {INNER}"), ("x-forwarded-proto", "https")) == (CLIENT, "https")
    assert client(PROXY, ("x-forwarded-for", f"{CLIENT}, {INNER}"), ("x-forwarded-proto", "https, http")) == (CLIENT, "https")
    assert client(PROXY, ("x-forwarded-for", f"{FORGED}, {CLIENT}"), ("x-forwarded-proto", "https, http")) == (CLIENT, "http")
    assert client(PROXY, ("x-forwarded-for", CLIENT), ("x-forwarded-proto", "ftp")) == (CLIENT, None)
    assert client(PROXY, ("forwarded", f"for={CLIENT};Proto=HTTPS;by=x"), header="forwarded") == (CLIENT, "https")


@pytest.mark.parametrize("hop", ["unknown", "_hidden", "", "203.0.113.7, x", "1.2.3", "[::1", "fe80::1%eth0", "1.2.3.4:port", "\x00", "a" * 5000])
def test_what_is_no_address_ends_the_search(hop: str) -> None:
    assert client(PROXY, ("x-forwarded-for", f"{FORGED}, {hop}"))[0] == PROXY
    assert client(PROXY, ("x-forwarded-for", f"{FORGED}, {hop}, {INNER}"))[0] == INNER


def test_an_open_quotation_mark_swallows_nothing() -> None:
    assert client(PROXY, ("forwarded", f'for="{FORGED}, for={CLIENT}'), header="forwarded")[0] == CLIENT


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:80", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_addresses_are_read_in_every_form(text: str, address: str) -> None:
    assert str(parsed(text)) == address
    assert client("::ffff:10.0.0.1", ("forwarded", f'for="{text}"'), header="forwarded")[0] == address


def test_few_entries_are_read_however_many_come() -> None:
    many = ", ".join([CLIENT, *[INNER] * 5000])
    assert client(PROXY, ("x-forwarded-for", many))[0] == INNER
    assert client(PROXY, ("x-forwarded-for", ", ".join([CLIENT, *[INNER] * (MAX_HOPS - 1)])))[0] == CLIENT


@given(st.lists(st.tuples(st.sampled_from([*HEADERS, "x-forwarded-proto"]), st.text(st.characters(max_codepoint=255), max_size=60)), max_size=4))
def test_nothing_that_a_client_sends_changes_what_a_proxy_appends(values: list[tuple[str, str]]) -> None:
    for header, form in HEADERS.items():
        assert client(PROXY, *values, (header, form.format(CLIENT)), header=header)[0] == CLIENT
        assert client(CLIENT, *values, header=header) == (CLIENT, None)
        found = proxies(header).client(PROXY, sent(*values))
        assert found.address is None or ip_address(str(found.address))
        assert found.scheme in (None, "http", "https")


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy", "10.0.0.0/99"])
def test_the_setting_takes_networks_alone(wrong: str) -> None:
    with pytest.raises(SettingsInvalidError, match="GLOSSATOR_TRUSTED_PROXIES"):
        Settings(trusted_proxies=wrong)
