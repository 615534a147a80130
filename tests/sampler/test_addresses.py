"""The address policy, spelling by spelling."""

import pytest

from rollouts.sampler.addresses import AddressRefused, resolve, target_of


@pytest.mark.parametrize(
    "url",
    [
        "http://127.1:8080",
        "http://0x7f.1",
        "http://2130706433",
        "http://017700000001",
        "http://[::ffff:127.0.0.1]",
        "http://[::ffff:10.0.0.1]",
        "http://[64:ff9b::7f00:1]",
        "http://[2002:7f00:1::]",
        "http://[::]",
        "http://[fe80::1]",
        "http://[fe80::1%25lo]",
        "http://169.254.169.254",
        "http://100.100.100.200",
        "http://224.0.0.1",
        "http://0.0.0.0",
        "http://255.255.255.255",
        "http://user@127.0.0.1",
        "http://127.0.0.1@example.org",
        "http://１２７.0.0.1",
        "http://127.0.0.1 .example.org",
        "http://127.0.0.1\\@example.org",
        "http://127.0.0.1:99999",
        "file:///etc/passwd",
        "http://",
        "",
    ],
)
async def test_it_refuses(url):
    with pytest.raises(AddressRefused):
        await resolve(target_of(url, "/"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1"),
        ("http://[::1]:8080", "::1"),
        ("http://10.1.2.3", "10.1.2.3"),
        ("https://93.184.216.34", "93.184.216.34"),
        ("http://localhost:8080", None),
    ],
)
async def test_it_connects_to_the_registered_endpoint(url, address):
    found = await resolve(target_of(url, "/"))
    assert found == address or (address is None and found in ("127.0.0.1", "::1"))


async def test_a_name_that_resolves_to_this_machine_is_refused(monkeypatch):
    import asyncio

    async def lookup(*args, **kwargs):
        return [(2, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)
    with pytest.raises(AddressRefused, match="this machine"):
        await resolve(target_of("http://shop.example.org", "/"))


def test_a_path_cannot_add_header_lines():
    assert "\r" not in target_of("http://127.0.0.1", "/a\r\nX: y").path
