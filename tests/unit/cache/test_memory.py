"""The memory cache: bounded, and never staler than the last notice."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deora.cache.memory import OVERHEAD_BYTES, MemoryCache

ROOM = 8 * (OVERHEAD_BYTES + 100)


def cache_with(*paths: str, ttl_s: float = 60, size_bytes: int = 100) -> MemoryCache[str]:
    """A cache that holds these; it has room for eight of 100 bytes."""
    cache: MemoryCache[str] = MemoryCache(ROOM, ttl_s)
    for path in paths:
        assert cache.fill(path, cache.begin(path), path.upper(), size_bytes, 0.0)
    return cache


def test_what_was_filled_is_found() -> None:
    cache = cache_with("a")
    assert (cache.get("a", 1.0), cache.get("b", 1.0)) == ("A", None)
    assert (cache.hits, cache.misses, cache.size_bytes) == (1, 1, OVERHEAD_BYTES + 100)


def test_a_copy_is_used_until_its_time_is_up() -> None:
    cache = cache_with("a", ttl_s=60)
    assert cache.get("a", 60.0) == "A"
    assert cache.get("a", 60.1) is None
    assert cache.fill("a", cache.begin("a"), "new", 100, 60.1)
    assert cache.get("a", 120.0) == "new"
    assert cache.size_bytes == OVERHEAD_BYTES + 100


def test_the_least_recently_used_goes_first() -> None:
    cache = cache_with(*"abcdefgh")
    assert cache.get("a", 0.0) == "A"
    assert cache.fill("i", cache.begin("i"), "I", 100, 0.0)
    assert cache.get("b", 0.0) is None
    assert cache.get("a", 0.0) == "A"
    assert cache.size_bytes <= ROOM


def test_one_document_cannot_push_all_others_out() -> None:
    cache = cache_with("a")
    assert not cache.fill("b", cache.begin("b"), "B", ROOM // 8 - OVERHEAD_BYTES + 1, 0.0)
    assert cache.fill("b", cache.begin("b"), "B", ROOM // 8 - OVERHEAD_BYTES, 0.0)
    assert cache.get("a", 0.0) == "A"


def test_a_notice_drops_the_copy() -> None:
    cache = cache_with("a", "b")
    cache.invalidate(["a", "c"])
    assert (cache.get("a", 0.0), cache.get("b", 0.0)) == (None, "B")
    assert cache.size_bytes == OVERHEAD_BYTES + 100


def test_a_read_that_began_before_a_notice_fills_nothing() -> None:
    cache = cache_with()
    ticket = cache.begin("a")
    cache.invalidate(["a"])
    assert not cache.fill("a", ticket, "old", 1, 0.0)
    assert cache.get("a", 0.0) is None
    after = cache.begin("a")
    assert not cache.fill("a", ticket, "old", 1, 0.0)
    assert cache.fill("a", after, "new", 1, 0.0)
    assert cache.get("a", 0.0) == "new"


def test_of_two_reads_at_once_the_later_one_fills() -> None:
    cache = cache_with()
    first, second = cache.begin("a"), cache.begin("a")
    assert not cache.fill("a", first, "first", 1, 0.0)
    assert cache.fill("a", second, "second", 1, 0.0)
    assert not cache.fill("a", second, "again", 1, 0.0)


def test_a_read_that_finds_nothing_gives_up_its_own_ticket_only() -> None:
    cache = cache_with()
    first, second = cache.begin("a"), cache.begin("a")
    cache.give_up("a", first)
    assert cache.fill("a", second, "second", 1, 0.0)
    cache.give_up("a", cache.begin("a"))
    cache.give_up("never", 99)
    assert cache.get("a", 0.0) == "second"


def test_clear_drops_copies_and_reads() -> None:
    cache = cache_with("a")
    ticket = cache.begin("b")
    cache.clear()
    assert not cache.fill("b", ticket, "B", 1, 0.0)
    assert cache.get("a", 0.0) is None
    assert cache.size_bytes == 0


class Copies(RuleBasedStateMachine):
    """Reads that overlap writes: what the cache answers is what the store held after the last notice."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: MemoryCache[int] = MemoryCache(ROOM, 1000)
        self.store: dict[str, int] = dict.fromkeys("abcdef", 0)
        self.reads: list[tuple[str, int, int]] = []
        self.sizes: OrderedDict[str, int] = OrderedDict()

    @rule(path=st.sampled_from("abcdef"))
    def write(self, path: str) -> None:
        """The store changes a document; its notice arrives before the answer to the writer."""
        self.store[path] += 1
        self.cache.invalidate([path])

    @rule(path=st.sampled_from("abcdef"))
    def begin(self, path: str) -> None:
        """A read starts and sees what is there now."""
        self.reads.append((path, self.cache.begin(path), self.store[path]))

    @precondition(lambda self: self.reads)
    @rule(data=st.data(), size_bytes=st.integers(0, 120), found=st.booleans())
    def finish(self, data: st.DataObject, size_bytes: int, found: bool) -> None:
        """Any of the reads under way comes to its end."""
        path, ticket, value = self.reads.pop(data.draw(st.integers(0, len(self.reads) - 1)))
        if found:
            self.cache.fill(path, ticket, value, size_bytes, 0.0)
        else:
            self.cache.give_up(path, ticket)

    @rule()
    def new_store(self) -> None:
        """Another store serves: everything read from the last one is forgotten."""
        self.store = {path: value + 1 for path, value in self.store.items()}
        self.cache.clear()

    @invariant()
    def is_never_stale(self) -> None:
        """A copy that is there is the present one, and there is room for all."""
        for path, value in self.store.items():
            assert self.cache.get(path, 0.0) in (None, value)
        assert 0 <= self.cache.size_bytes <= ROOM


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=60, stateful_step_count=40)
