"""Requests that are malformed, ambiguous or made for smuggling, each with the status that RFC 9110 and 9112 call for.

A `Case` is what a client sends on a connection of its own. `statuses` are those of all answers, in order: that of a
request which is hidden in another must never be among them. After a 400 nothing on the connection is answered any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

HOST: Final = b"Host: here\r\n"
HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: here\r\n\r\n"
BAD: Final = (400,)
FINE: Final = (200,)


class Case(NamedTuple):
    """One connection. `rule` is the section that decides."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    rule: str


def get(line: bytes = b"GET /a HTTP/1.1", *fields: bytes, host: bytes = HOST) -> bytes:
    """A request without a body; `fields` are whole lines without their ends."""
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """A POST with these header lines and what follows them."""
    return get(b"POST /a HTTP/1.1", *fields) + body


def _request_lines() -> Iterator[Case]:
    rule = "RFC 9112, 3"
    lines = {
        "two spaces before the target": b"GET  /a HTTP/1.1",
        "two spaces before the version": b"GET /a  HTTP/1.1",
        "a space in front": b" GET /a HTTP/1.1",
        "a tab for a space": b"GET\t/a HTTP/1.1",
        "a tab before the version": b"GET /a\tHTTP/1.1",
        "a space behind the version": b"GET /a HTTP/1.1 ",
        "a space within the target": b"GET /a b HTTP/1.1",
        "no version": b"GET /a",
        "no target": b"GET HTTP/1.1",
        "an empty target": b"GET  HTTP/1.1",
        "a method alone": b"GET",
        "a version in lower case": b"GET /a http/1.1",
        "a version without a minor": b"GET /a HTTP/1",
        "a version with a comma": b"GET /a HTTP/1,1",
        "a version of two digits": b"GET /a HTTP/1.10",
        "a version of two majors": b"GET /a HTTP/11.1",
        "another protocol": b"GET /a ICE/1.0",
        "HTTP/0.9": b"GET /a HTTP/0.9",
        "HTTP/2.0": b"GET /a HTTP/2.0",
        "HTTP/3.0": b"GET /a HTTP/3.0",
        "a negative version": b"GET /a HTTP/-1.1",
        "a method in lower case": b"get /a HTTP/1.1",
        "a method of nobody": b"FETCH /a HTTP/1.1",
        "a method with a colon": b"GE:T /a HTTP/1.1",
        "a method with a quote": b'GE"T /a HTTP/1.1',
        "a method in brackets": b"(GET) /a HTTP/1.1",
        "a method beyond ASCII": b"G\xc3\x8bT /a HTTP/1.1",
        "the preface of HTTP/2": b"PRI * HTTP/2.0",
    }
    for name, line in lines.items():
        yield Case(f"request line: {name}", get(line), BAD, rule)
    for method in (b"TRACE", b"PROPFIND", b"LOCK", b"PURGE", b"SEARCH"):
        yield Case(f"method {method.decode()}", get(method + b" /a HTTP/1.1"), (405,), "RFC 9110, 15.5.6")
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
        yield Case(f"method {method.decode()}", get(method + b" /a HTTP/1.1"), FINE, "RFC 9110, 9")
    yield Case("an empty line before", b"\r\n" + get(), FINE, "RFC 9112, 2.2")
    yield Case("rubbish before", b"x\r\n" + get(), BAD, rule)


def _targets() -> Iterator[Case]:
    rule = "RFC 9112, 3.2"
    for name, target, statuses in [
        ("origin form", b"/a?b=c", FINE),
        ("two slashes", b"//a", FINE),
        ("absolute form", b"http://here/a", FINE),
        ("absolute form, https", b"https://here/a", FINE),
        ("absolute form without a path", b"http://here", FINE),
        ("absolute form of another scheme", b"ftp://here/a", BAD),
        ("absolute form of a file", b"file:///etc/passwd", BAD),
        ("a relative path", b"a", BAD),
        ("a query alone", b"?a", BAD),
        ("a fragment", b"/a#b", BAD),
        ("a fragment alone", b"#a", BAD),
        ("an asterisk", b"*", BAD),
        ("an authority", b"here:80", BAD),
        ("a backslash", b"\\a", BAD),
        ("beyond ASCII", b"/\xc3\xa4", BAD),
    ]:
        yield Case(f"target: {name}", get(b"GET " + target + b" HTTP/1.1"), statuses, rule)
    yield Case("target: OPTIONS of all", get(b"OPTIONS * HTTP/1.1"), FINE, rule)
    yield Case("target: CONNECT", get(b"CONNECT here:443 HTTP/1.1"), BAD, rule)
    yield Case("target: CONNECT with a path", get(b"CONNECT /a HTTP/1.1"), (405,), "RFC 9110, 9.3.6")
    yield Case("target too long", get(b"GET /" + b"a" * 8192 + b" HTTP/1.1"), (414,), "RFC 9110, 15.5.15")
    yield Case("target far too long", get(b"GET /" + b"a" * 100_000 + b" HTTP/1.1"), (414,), "RFC 9110, 15.5.15")


def _control_bytes() -> Iterator[Case]:
    for byte in [*range(0x20), 0x7F]:
        raw = bytes([byte])
        name = f"byte {byte:#04x}"
        yield Case(f"{name} in the target", get(b"GET /a" + raw + b"b HTTP/1.1"), BAD, "RFC 9112, 3.2")
        yield Case(f"{name} in a name", get(b"GET /a HTTP/1.1", b"X-" + raw + b"A: b"), BAD, "RFC 9110, 5.1")
        # A tab is white space; CR, LF and NUL must be refused, the others should be.
        statuses = FINE if byte == 0x09 else BAD
        yield Case(f"{name} in a value", get(b"GET /a HTTP/1.1", b"X-A: b" + raw + b"c"), statuses, "RFC 9110, 5.5")


def _fields() -> Iterator[Case]:
    rule = "RFC 9112, 5"
    for mark in b'"(),/;<=>?@[\\]{}':
        line = b"X" + bytes([mark]) + b"A: b"
        yield Case(f"{chr(mark)} in a name", get(b"GET /a HTTP/1.1", line), BAD, "RFC 9110, 5.6.2")
    for name, line, statuses in [
        ("a space before the colon", b"X-A : b", BAD),
        ("a tab before the colon", b"X-A\t: b", BAD),
        ("a space within the name", b"X A: b", BAD),
        ("no colon", b"X-A b", BAD),
        ("no name", b": b", BAD),
        ("a colon alone", b":", BAD),
        ("a name beyond ASCII", b"X-\xc3\xa4: b", BAD),
        ("a value beyond ASCII", b"X-A: \xc3\xa4", FINE),
        ("an empty value", b"X-A:", FINE),
        ("white space around a value", b"X-A: \t b \t ", FINE),
        ("no space behind the colon", b"X-A:b", FINE),
        ("a colon within the value", b"X-A: b:c", FINE),
        ("a folded line", b"X-A: b\r\n c", BAD),
        ("a folded line of a tab", b"X-A: b\r\n\tc", BAD),
        ("a line of white space", b" ", BAD),
        ("a bare LF", b"X-A: b\nX-B: c", BAD),
        ("a bare CR", b"X-A: b\rX-B: c", BAD),
        ("CR CR LF", b"X-A: b\r", BAD),
    ]:
        yield Case(f"field: {name}", get(b"GET /a HTTP/1.1", line), statuses, rule)
    yield Case("field: the first line is folded", b"GET /a HTTP/1.1\r\n Host: here\r\n\r\n", BAD, rule)
    yield Case("field: LF ends the head", b"GET /a HTTP/1.1\r\nHost: here\r\n\n", BAD, "RFC 9112, 2.2")
    yield Case("field: LF ends every line", b"GET /a HTTP/1.1\nHost: here\n\n", BAD, "RFC 9112, 2.2")
    yield Case("field: LF CR", b"GET /a HTTP/1.1\n\rHost: here\n\r\n\r", BAD, "RFC 9112, 2.2")
    large = get(b"GET /a HTTP/1.1", b"X-A: " + b"b" * 16_384)
    yield Case("field: a head too large", large, (431,), "RFC 6585, 5")
    many = get(b"GET /a HTTP/1.1", *(b"X-%d: b" % number for number in range(2000)))
    yield Case("field: too many", many, (431,), "RFC 6585, 5")
    long = get(b"GET /a HTTP/1.1", b"X" * 20_000 + b": b")
    yield Case("field: a name too long", long, (431,), "RFC 6585, 5")


def _hosts() -> Iterator[Case]:
    rule = "RFC 9112, 3.2"
    for label, host, statuses in [
        ("none", b"", BAD),
        ("two", HOST * 2, BAD),
        ("two that differ", HOST + b"Host: there\r\n", BAD),
        ("three", HOST * 3, BAD),
        ("in lower case", b"host: here\r\n", FINE),
        ("in both cases", b"host: here\r\nHOST: here\r\n", BAD),
        ("with a port", b"Host: here:3000\r\n", FINE),
    ]:
        yield Case(f"Host: {label}", get(host=host), statuses, rule)
    yield Case("Host: none in HTTP/1.0", get(b"GET /a HTTP/1.0", host=b""), FINE, rule)
    yield Case("Host: two in HTTP/1.0", get(b"GET /a HTTP/1.0", host=HOST * 2), BAD, rule)
    yield Case("Host: none beside an absolute form", get(b"GET http://here/a HTTP/1.1", host=b""), BAD, rule)


def _lengths() -> Iterator[Case]:
    rule = "RFC 9112, 6.3"
    for value in (
        b"",
        b" ",
        b"+5",
        b"-5",
        b"-0",
        b"5 5",
        b"5,5",
        b"5, 5",
        b"5,6",
        b"5;",
        b"5.0",
        b"0x5",
        b"5e0",
        b"five",
    ):
        case = post(b"Content-Length: " + value, body=b"hello")
        yield Case(f"Content-Length {value!r}", case, BAD, rule)
    for value in (
        b"1_0",
        b"\xd9\xa5",
        b"5\x00",
        b"5\x0b",
        b"0x0",
        b"00x5",
        b'"5"',
        b"5h",
        b"NaN",
        b"18446744073709551621",
    ):
        yield Case(f"Content-Length {value!r}", post(b"Content-Length: " + value, body=b"hello"), BAD, rule)
    yield Case("Content-Length twice, the same", post(*[b"Content-Length: 5"] * 2, body=b"hello"), BAD, rule)
    differ = post(b"Content-Length: 5", b"Content-Length: 0", body=b"hello")
    yield Case("Content-Length twice, another", differ, BAD, rule)
    hiding = post(b"Content-Length: 0", b"Content-Length: %d" % len(HIDDEN), body=HIDDEN)
    yield Case("Content-Length twice, hiding a request", hiding, BAD, rule)
    yield Case("Content-Length with zeros in front", post(b"Content-Length: 005", body=b"hello"), FINE, rule)
    yield Case("Content-Length of a GET", get(b"GET /a HTTP/1.1", b"Content-Length: 5") + b"hello", FINE, rule)
    yield Case("a request behind a body", post(b"Content-Length: 5", body=b"hello") + get(), (200, 200), rule)
    yield Case("a longer body than announced", post(b"Content-Length: 3", body=b"hello"), (200, 400), rule)
    yield Case("a body without a length", post(body=b"hello\r\n\r\n"), (200, 400), rule)
    yield Case("Content-Length over the limit", post(b"Content-Length: 4194305"), (413,), "RFC 9110, 15.5.14")
    yield Case("Content-Length of a gibibyte", post(b"Content-Length: 1073741824"), (413,), "RFC 9110, 15.5.14")
    yield Case("Content-Length of 19 digits", post(b"Content-Length: 9000000000000000000"), (413,), "RFC 9110, 15.5.14")


def _codings() -> Iterator[Case]:
    rule = "RFC 9112, 6.1"
    chunked = b"Transfer-Encoding: chunked"
    end = b"0\r\n\r\n"
    for value in (
        b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked, identity",
        b"identity, chunked", b"xchunked", b"chunked;q=1", b'"chunked"', b"chunked,", b",chunked", b"chun ked",
        b"chunked\x0b", b"\x0bchunked", b"cow",
    ):  # fmt: skip
        yield Case(f"Transfer-Encoding {value!r}", post(b"Transfer-Encoding: " + value, body=end), BAD, rule)
    yield Case("Transfer-Encoding in capitals", post(b"Transfer-Encoding: CHUNKED", body=end), FINE, rule)
    yield Case("Transfer-Encoding twice", post(chunked, chunked, body=end), BAD, rule)
    yield Case("Transfer-Encoding twice, identity", post(chunked, b"Transfer-Encoding: identity", body=end), BAD, rule)
    yield Case("CL.TE", post(b"Content-Length: 4", chunked, body=end + HIDDEN), BAD, "RFC 9112, 6.3")
    yield Case("TE.CL", post(chunked, b"Content-Length: 4", body=end + HIDDEN), BAD, "RFC 9112, 6.3")
    yield Case("CL.TE with a zero", post(b"Content-Length: 0", chunked, body=end + HIDDEN), BAD, "RFC 9112, 6.3")
    spaced = post(b"Content-Length: 5", b"Transfer-Encoding : chunked", body=end + HIDDEN)
    yield Case("TE with a space before its colon", spaced, BAD, "RFC 9112, 5.1")
    folded = post(b"Content-Length: 5", b"Transfer-Encoding:\r\n chunked", body=end)
    yield Case("TE folded", folded, BAD, "RFC 9112, 5.2")
    hidden = post(b"Content-Length: 5", b"X: y\nTransfer-Encoding: chunked", body=end + HIDDEN)
    yield Case("TE behind a bare LF", hidden, BAD, "RFC 9112, 2.2")
    hidden = post(b"Content-Length: 5", b"X: y\rTransfer-Encoding: chunked", body=end + HIDDEN)
    yield Case("TE behind a bare CR", hidden, BAD, "RFC 9112, 2.2")
    old = b"POST /a HTTP/1.0\r\n" + HOST + chunked + b"\r\n\r\n" + end
    yield Case("chunked in HTTP/1.0", old, BAD, "RFC 9112, 6.1")
    yield Case("an Upgrade with a body", post(b"Connection: Upgrade", b"Upgrade: h2c", chunked, body=end), BAD, rule)


def _chunks() -> Iterator[Case]:
    rule = "RFC 9112, 7.1"
    for name, body, statuses in [
        ("one", b"5\r\nhello\r\n0\r\n\r\n", FINE),
        ("two", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", FINE),
        ("a size in capitals", b"A\r\n0123456789\r\n0\r\n\r\n", FINE),
        ("a size with zeros in front", b"0005\r\nhello\r\n0\r\n\r\n", FINE),
        ("an extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", FINE),
        ("a trailer", b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n", FINE),
        ("a request behind", b"5\r\nhello\r\n0\r\n\r\n" + get(), (200, 200)),
        ("a size of nothing", b"\r\nhello\r\n0\r\n\r\n", BAD),
        ("a size with a sign", b"+5\r\nhello\r\n0\r\n\r\n", BAD),
        ("a negative size", b"-5\r\nhello\r\n0\r\n\r\n", BAD),
        ("a size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n", BAD),
        ("a size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n", BAD),
        ("a size that is none", b"g\r\nhello\r\n0\r\n\r\n", BAD),
        ("a space before the size", b" 5\r\nhello\r\n0\r\n\r\n", BAD),
        ("a size that overflows", b"10000000000000005\r\nhello\r\n0\r\n\r\n", BAD),
        ("a size of 100 digits", b"0" * 99 + b"5\r\nhello\r\n0\r\n\r\n", FINE),
        ("a size ended by LF", b"5\nhello\r\n0\r\n\r\n", BAD),
        ("a size ended by CR", b"5\rhello\r\n0\r\n\r\n", BAD),
        ("a size ended by CR CR LF", b"5\r\r\nhello\r\n0\r\n\r\n", BAD),
        ("data without an end", b"5\r\nhello0\r\n\r\n", BAD),
        ("data ended by LF", b"5\r\nhello\n0\r\n\r\n", BAD),
        ("data ended by CR", b"5\r\nhello\r0\r\n\r\n", BAD),
        ("more data than announced", b"3\r\nhello\r\n0\r\n\r\n", BAD),
        ("two bytes for its end", b"5\r\nhelloXX0\r\n\r\n", BAD),
        ("an extension with LF", b"5;a\nb\r\nhello\r\n0\r\n\r\n", BAD),
        ("an extension with CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n", BAD),
        ("an extension with NUL", b"5;a\0b\r\nhello\r\n0\r\n\r\n", BAD),
        ("the last one ended by LF", b"5\r\nhello\r\n0\n\n", BAD),
        ("a trailer folded", b"0\r\nX-A: b\r\n c\r\n\r\n", BAD),
        ("a trailer with a space before its colon", b"0\r\nX-A : b\r\n\r\n", BAD),
        ("a trailer with NUL", b"0\r\nX-A: b\0\r\n\r\n", BAD),
        ("an endless extension", b"5;" + b"a" * 400_000 + b"\r\nhello\r\n0\r\n\r\n", (431,)),
        ("an endless trailer", b"0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", (431,)),
        ("over the limit in all", b"400001\r\n" + b"a" * 0x400001 + b"\r\n0\r\n\r\n", (413,)),
    ]:
        yield Case(f"chunk: {name}", post(b"Transfer-Encoding: chunked", body=body), statuses, rule)
    framing = post(b"Transfer-Encoding: chunked", body=b"0\r\nContent-Length: 40\r\n\r\n" + get())
    yield Case("chunk: a trailer that speaks of length", framing, BAD, "RFC 9110, 6.5.1")


def _rest() -> Iterator[Case]:
    yield Case("two requests", get() + get(), (200, 200), "RFC 9112, 9.3.2")
    yield Case("a request behind Connection: close", get(b"GET /a HTTP/1.1", b"Connection: close") + get(), FINE, "9.6")
    yield Case("HTTP/1.0 and another", get(b"GET /a HTTP/1.0") + get(), FINE, "RFC 9112, 9.3")
    yield Case("a request behind a bad one", get(b"GET /a b HTTP/1.1") + get(), BAD, "RFC 9112, 9.6")
    yield Case("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BAD, "RFC 9112, 2.1")
    yield Case("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", BAD, "RFC 9112, 3")
    yield Case("NULs", b"\0" * 64, BAD, "RFC 9112, 3")
    expects = get(b"GET /a HTTP/1.1", b"Expect: 100-continue")
    yield Case("Expect without a body", expects, FINE, "RFC 9110, 10.1.1")
    yield Case("an unknown Expect", post(b"Content-Length: 1", b"Expect: 200-ok", body=b"a"), BAD, "RFC 9110, 10.1.1")
    for name in (b"If-Match", b"Idempotency-Key", b"Content-Type", b"X-Deora-Priority", b"Authorization"):
        twice = post(b"Content-Length: 0", name + b": a", name + b": a")
        yield Case(f"{name.decode()} twice", twice, BAD, "RFC 9110, 5.3")


def cases() -> list[Case]:
    """All of them."""
    groups = (_request_lines, _targets, _control_bytes, _fields, _hosts, _lengths, _codings, _chunks, _rest)
    return [case for group in groups for case in group()]
