"""Formats of texts and sizes; what is shown of a URL."""

from __future__ import annotations

import pytest

from deora.config.formats import follows, format_size, is_loopback, mask_url, parse_size, split_url

CANARY = "canary-7f3a"

SIZES = [
    ("0", 0),
    ("4096", 4096),
    ("17B", 17),
    ("500KiB", 512_000),
    ("10MiB", 10_485_760),
    ("10 mib", 10_485_760),
    ("1GiB", 1_073_741_824),
    ("2TiB", 2_199_023_255_552),
    ("1kB", 1000),
    ("1MB", 1_000_000),
    ("3GB", 3_000_000_000),
    ("1TB", 10**12),
]


@pytest.mark.parametrize(("text", "size_bytes"), SIZES)
def test_size(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "1.5GiB", "-1", "1XB", "10MiBs", "1e3", "٣", "1  MiB", "9" * 30])
def test_no_size(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, 0), (1, 1), (1024, "1KiB"), (1536, 1536), (10 << 20, "10MiB"), (1 << 40, "1TiB")]
)
def test_format_size_is_exact(size_bytes: int, text: str | int) -> None:
    assert format_size(size_bytes) == text
    assert parse_size(str(text)) == size_bytes


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.1.2", "::1", "0:0:0:0:0:0:0:1", "localhost", "LocalHost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "128.0.0.1",
        "::ffff:127.0.0.1",
        "127.1",
        "localhost.example",
        "",
        "127.0.0.1.example",
    ],
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:PW@h:5432/n?sslmode=require", "postgresql://u:***@h:5432/n?sslmode=require"),
        ("postgresql://u@h/n", "postgresql://u@h/n"),
        ("postgresql://u:P/W@x@h/n", "postgresql://u:***@h/n"),
        ("postgresql://u:P#W?a@h/n", "postgresql://u:***@h/n"),
        ("postgresql://h/n?user=u&password=PW&sslmode=require", "postgresql://h/n?user=u&password=***&sslmode=require"),
        ("postgresql://h/n?PASSWORD=PW", "postgresql://h/n?PASSWORD=***"),
        ("redis://:PW@h:6379/0", "redis://:***@h:6379/0"),
        ("unix://u:PW@/run/redis.sock", "unix://u:***@/run/redis.sock"),
        ("no url at all", "no url at all"),
    ],
)
def test_mask_url(url: str, masked: str) -> None:
    assert mask_url(url) == masked


FOLLOWS = [
    ("text", ["x", "é", "a b"], ["", "a\nb", "a\x00", "\ud800", "a\x7f", "a\u2028b"]),
    ("id", ["A", "bar-1", "a.b_c", "9" * 64], ["", "-a", "a b", "a/b", "é", "9" * 65, "__a__"]),
    (
        "host",
        ["127.0.0.1", "::1", "localhost", "bar-1.local", "fe80::1%eth0", "a.b."],
        ["", "0.0.0.0:3000", "300.1.1.1", "1.2.3", "[::1]", "a b", "http://x", "-a", "a..b", "a" * 254],
    ),
    (
        "host_port",
        ["127.0.0.1:8080", "localhost:1", "[::1]:8080", "emulator:8080"],
        ["localhost", "localhost:", "localhost:0", "localhost:65536", "http://h:1", "h:1/x", "u@h:1", ":8080"],
    ),
    ("network", ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"], ["", "10.0.0.1/8", "proxy", "10.0.0.0/33"]),
    ("collection", ["orders", "orders/o1/items"], ["", "orders/", "/orders", "orders/o1", "__x__", ".", "a//b"]),
    ("table", ["orders", "public.orders", "my table"], ["", "a.b.c", ".a", "a.", "a" * 64]),
    ("column", ["id", "my id", "a" * 63], ["", "a" * 64, "é" * 32]),
    ("directory", ["logs", "/var/log/deora", "."], [""]),
    ("file", ["upstream.db", "/mnt/a/b.db", "../x.db"], ["", ".", "..", "dir/", ":memory:", "file:a?mode=ro"]),
    (
        "origin",
        ["https://till.example", "http://10.0.0.1:8080", "HTTPS://Till.example"],
        ["*", "till.example", "https://till.example/", "https://u@h", "ftp://h", "https://"],
    ),
    ("http_url", ["https://h/x?y", "http://h:1/"], ["", "h", "ftp://h", "https://", "https://h:99999/", "https://a b"]),
    ("sentry_dsn", ["https://abc@sentry.example/1"], ["https://sentry.example/1", "abc@h"]),
    (
        "redis_url",
        ["redis://h", "redis://:p@h:6379/0", "rediss://h", "unix:///run/r.sock", "unix://:p@/run/r.sock?db=1"],
        ["h", "http://h", "redis://", "redis://h:0", "redis://h:99999", "unix://", "unix:///", "unix:/run/r.sock"],
    ),
    (
        "postgres_url",
        ["postgres://h/n", "postgresql://u:p@h:5432/n", "postgresql:///n", "postgresql://a:1,b:2/n"],
        ["mysql://h", "postgresql:", "postgresql://", "h", "postgresql://h:port/n", "postgresql://h/a b"],
    ),
    ("firestore_id", ["my-venue", "(default)", "example.com:venue"], ["", "My-Venue", "a/b", "a" * 101]),
    (
        "token_hash",
        ["sha256:" + "0a" * 32],
        ["sha256:" + "0A" * 32, "0a" * 32, "sha256:" + "0a" * 31, "md5:" + "0a" * 32],
    ),
]


@pytest.mark.parametrize(("rule", "value"), [(rule, value) for rule, good, _ in FOLLOWS for value in good])
def test_follows(rule: str, value: str) -> None:
    assert follows(rule, value)


@pytest.mark.parametrize(("rule", "value"), [(rule, value) for rule, _, bad in FOLLOWS for value in bad])
def test_does_not_follow(rule: str, value: str) -> None:
    assert not follows(rule, value)


@pytest.mark.parametrize("url", ["x", "http://[::1", "http://h:x", "http://h:0", "http://a b"])
def test_split_url_refuses(url: str) -> None:
    assert split_url(url) is None
