"""What a server, a role and a network can do: who waits, who tries again, what is said. Real servers all along."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from deora.config.database import Pool, PostgresUpstream
from deora.upstream.base import Applied, Cursor, CursorKey, Moved, Page, Refused, Unauthorised, Unclear
from deora.upstream.postgres.client import PostgresUpstream as Client
from tests.fakes.postgres import Server, directory, free_port, running
from tests.fakes.venue import KEY, Venue, create, set_, update, upsert

ROLE_NUMBERS = iter(range(1000))


async def new_role(venue: Venue, *grants: str) -> str:
    """The URL of a role that has these grants alone."""
    role = f"till{next(ROLE_NUMBERS)}"
    await venue.execute(f"CREATE ROLE {role} LOGIN", "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    await venue.execute(*(grant.format(role=role) for grant in grants))
    return venue.url.replace("deora@", f"{role}@")


async def test_a_role_that_may_not_make_the_tables_is_told_the_grant(venue: Venue) -> None:
    url = await new_role(venue, "GRANT USAGE ON SCHEMA public TO {role}")
    venue.connect(url=url)
    outcome = await venue.send(set_("a/1", {}))
    assert isinstance(outcome, Unauthorised)
    assert "deora_cursor, deora_documents, deora_version are missing" in outcome.message
    assert 'GRANT USAGE, CREATE ON SCHEMA "public" TO "till' in outcome.message
    role = url.partition("//")[2].partition("@")[0]
    await venue.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    assert await venue.send(set_("a/1", {})) == Applied()


async def test_a_role_that_may_not_write_is_told_the_grants(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {})) == Applied()
    url = await new_role(venue, "GRANT USAGE ON SCHEMA public TO {role}", "GRANT SELECT ON deora_cursor TO {role}")
    venue.connect(url=url)
    assert isinstance(await venue.client.read_cursor(KEY), Cursor)
    outcome = await venue.send(set_("a/2", {}))
    assert isinstance(outcome, Unauthorised)
    assert "permission denied for" in outcome.message
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON deora_documents" in outcome.message


async def test_what_docs_say_a_role_needs_is_enough(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {})) == Applied()
    page = Path(__file__).resolve().parents[2] / "docs" / "postgres.md"
    lines = page.read_text("utf-8").splitlines()
    grants = [line.replace(" venue", " {role}") for line in lines if line.startswith("GRANT")]
    assert len(grants) == 4
    venue.connect(url=await new_role(venue, *grants))
    assert await venue.send(update("a/1", {"n": 1}), set_("a/2", {}), create("a/3", {})) == Applied()
    assert await venue.read("a/1", "a/3") == [{"n": 1}, {}]
    assert isinstance(await venue.client.list_changes(KEY, "a", "", 5), Page)


async def test_a_missing_grant_on_a_mapped_table_kills_nothing(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {})) == Applied()
    await venue.execute("CREATE TABLE orders (id text PRIMARY KEY, n int)")
    everything = "GRANT ALL ON deora_cursor, deora_documents, deora_version TO {role}"
    url = await new_role(
        venue, "GRANT USAGE ON SCHEMA public TO {role}", everything, "GRANT SELECT ON orders TO {role}"
    )
    venue.connect({"orders": "orders"}, url=url)
    outcome = await venue.send(set_("orders/1", {}))
    assert isinstance(outcome, Unauthorised)
    assert 'GRANT INSERT, UPDATE ON "orders" TO "till' in outcome.message


async def test_a_row_that_a_policy_refuses_is_refused(venue: Venue) -> None:
    await venue.execute(
        "CREATE TABLE orders (id text PRIMARY KEY, n int)",
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY small ON orders USING (true) WITH CHECK (n < 10)",
    )
    everything = "GRANT ALL ON orders TO {role}"
    venue.connect({"orders": "orders"}, url=await new_role(venue, "GRANT ALL ON SCHEMA public TO {role}", everything))
    outcome = await venue.send(set_("orders/1", {"n": 1}), set_("orders/2", {"n": 10}))
    assert isinstance(outcome, Refused)
    assert (outcome.index, "row-level security policy" in outcome.message) == (1, True)


async def test_a_role_cut_to_read_only_is_asked_again(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {})) == Applied()
    everything = "GRANT ALL ON deora_cursor, deora_documents, deora_version TO {role}"
    url = await new_role(venue, "GRANT ALL ON SCHEMA public TO {role}", everything)
    role = url.partition("//")[2].partition("@")[0]
    await venue.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    venue.connect(url=url)
    outcome = await venue.send(set_("a/2", {}))
    assert isinstance(outcome, Unauthorised)
    assert "read-only" in outcome.message
    await venue.execute(f"ALTER ROLE {role} RESET default_transaction_read_only")
    # The connections of before would have kept the old setting.
    assert await venue.send(set_("a/2", {})) == Applied()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("/test", "/no_such_database_"), "does not exist"),
        (("deora@", "nobody_of_this_name:geheim@"), 'role "nobody_of_this_name" does not exist'),
    ],
)
async def test_wrong_credentials_wait(venue: Venue, change: tuple[str, str], words: str) -> None:
    client = venue.connect(url=venue.url.replace(*change))
    outcome = await client.read_cursor(KEY)
    assert isinstance(outcome, Unauthorised)
    assert words in outcome.message
    assert "geheim" not in outcome.message + repr(client.__dict__)


async def test_nobody_there_is_transient(venue: Venue) -> None:
    venue.connect(url=f"postgresql://deora:geheim@127.0.0.1:{free_port()}/x")
    outcome = await venue.send(set_("a/1", {}))
    assert isinstance(outcome, Unclear)
    assert "geheim" not in outcome.message
    assert "PostgreSQL at 127.0.0.1:" in outcome.message


async def test_a_statement_that_takes_too_long_is_transient_and_undone(venue: Venue) -> None:
    venue.connect(pool=Pool(statement_timeout_s=0.2))
    assert await venue.send(set_("a/1", {"n": 1})) == Applied()
    holder = await asyncpg.connect(venue.url)
    async with holder.transaction():
        await holder.execute("SELECT FROM deora_documents FOR UPDATE")
        outcome = await venue.send(update("a/1", {"n": 2}))
        assert isinstance(outcome, Unclear)
        assert "statement timeout" in outcome.message
    await holder.close()
    assert await venue.send(update("a/1", {"n": {"$increment": 1}})) == Applied()
    assert await venue.read("a/1") == [{"n": 2}]


async def test_a_cancelled_call_leaves_no_transaction_behind(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {"n": 1})) == Applied()
    holder = await asyncpg.connect(venue.url)
    async with holder.transaction():
        await holder.execute("SELECT FROM deora_documents FOR UPDATE")
        call = asyncio.create_task(venue.send(update("a/1", {"n": 2})))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while await venue.rows(waiting) == [(0,)]:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert venue.client.figures.total == 0
    await holder.close()
    assert await venue.send(update("a/1", {"n": {"$increment": 1}})) == Applied()
    assert await venue.read("a/1") == [{"n": 2}]


async def test_two_boxes_that_create_and_count_at_once_lose_nothing(venue: Venue) -> None:
    boxes = [Venue(venue.url) for _ in range(4)]
    try:
        for number, box in enumerate(boxes):
            box.key = CursorKey(f"box{number}", "epoch1", 0)
        for number in range(25):
            writes = [upsert(f"c/{number}-{dice}", {"n": {"$increment": 1}}) for dice in range(3)]
            orders = [writes, writes[::-1]] * 2
            outcomes = await asyncio.gather(*(box.send(*order) for box, order in zip(boxes, orders, strict=True)))
            # A box that lost every race says so, and sends the very same again.
            for box, outcome in zip(boxes, outcomes, strict=True):
                while outcome != Applied():
                    assert isinstance(outcome, Unclear), outcome
                    outcome = await box.send(*writes)
        counted = await venue.rows("SELECT data ->> 'n', count(*) FROM deora_documents GROUP BY 1")
        assert counted == [("4", 75)]
    finally:
        for box in boxes:
            await box.close()


async def test_tables_that_vanish_are_made_again_and_the_cursor_tells(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {})) == Applied()
    await venue.execute("DROP TABLE deora_cursor, deora_documents", "DROP SEQUENCE deora_version CASCADE")
    assert isinstance(await venue.send(set_("a/2", {})), Unclear)
    assert await venue.client.read_cursor(KEY) is None
    assert await venue.send(set_("a/2", {})) == Moved()


async def test_an_altered_table_is_read_and_written_again(venue: Venue) -> None:
    assert await venue.send(set_("a/1", {"n": 1}), update("a/1", {"n": 2})) == Applied()
    assert await venue.read("a/1") == [{"n": 2}]
    await venue.execute('ALTER TABLE deora_documents ALTER COLUMN path TYPE varchar(6144) COLLATE "C"')
    assert await venue.send(update("a/1", {"n": 3})) == Applied()
    assert isinstance(await venue.client.read_documents(KEY, ["a/1"]), Page | Unclear)
    assert await venue.read("a/1") == [{"n": 3}]


async def test_first_clients_at_once_make_the_tables_once(venue: Venue) -> None:
    clients = [venue.connect() for _ in range(6)]
    assert await asyncio.gather(*(client.read_cursor(KEY) for client in clients)) == [None] * 6


def test_a_killed_server_is_found_again() -> None:
    async def whole(server: Server) -> None:
        venue = Venue(server.url())
        assert await venue.send(set_("a/1", {"n": 0})) == Applied()
        server.stop()
        for _ in range(3):
            assert isinstance(await venue.send(update("a/1", {"n": {"$increment": 1}})), Unclear)
        server.start()
        assert await venue.send(update("a/1", {"n": {"$increment": 1}})) == Applied()
        assert await venue.read("a/1") == [{"n": 1}]
        await venue.close()

    with running() as server:
        asyncio.run(whole(server))


def test_a_failover_to_a_standby_is_followed() -> None:
    """The primary dies, its standby is promoted: the lane goes on there from the very same cursor."""

    async def whole(primary: Server, standby: Server) -> None:
        venue = Venue(f"postgresql://deora@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres")
        assert await venue.send(set_("a/1", {"n": 1})) == Applied()
        replica = Venue(standby.url())
        while await primary_behind(primary):
            await asyncio.sleep(0.01)
        primary.stop()
        outcome = await venue.send(update("a/1", {"n": {"$increment": 1}}))
        assert isinstance(outcome, Unclear)
        await replica.rows("SELECT pg_promote()")
        assert await venue.send(update("a/1", {"n": {"$increment": 1}})) == Applied()
        assert await replica.rows("SELECT data ->> 'n' FROM deora_documents") == [("2",)]
        await venue.close()
        await replica.close()

    async def primary_behind(primary: Server) -> bool:
        caught_up = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
        return await Venue(primary.url()).rows(caught_up) != [(1,)]

    with running() as primary, directory() as folder:
        standby = Server(folder)
        standby.copy(primary)
        standby.start()
        try:
            asyncio.run(whole(primary, standby))
        finally:
            standby.stop()


def test_a_server_that_turns_read_only_under_open_connections_is_left() -> None:
    async def whole(first: Server, second: Server) -> None:
        venue = Venue(f"postgresql://deora@127.0.0.1:{first.port},127.0.0.1:{second.port}/postgres")
        assert await venue.send(set_("a/1", {})) == Applied()
        operator = Venue(first.url())
        await operator.execute("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        while await operator.rows("SHOW default_transaction_read_only") != [("on",)]:
            await asyncio.sleep(0.01)
        outcome = await venue.send(set_("a/2", {}))
        assert isinstance(outcome, Unclear)
        assert "looking for one that takes writes" in outcome.message
        # The second server knows nothing of this lane: that is the cursor's matter, not the connection's.
        assert await venue.client.read_cursor(KEY) is None
        await venue.close()

    with running() as first, running() as second:
        asyncio.run(whole(first, second))


def test_a_certificate_is_checked() -> None:
    """`verify-full` takes the certificate of its name alone, and only from an authority that it knows."""

    async def ask(url: str, mode: str) -> object:
        client = Client(PostgresUpstream(type="postgres", url=url, ssl=mode))
        try:
            return await client.read_cursor(KEY)
        finally:
            await client.close()

    async def whole(server: Server) -> None:
        server.make_certificate("server")
        server.make_certificate("other")
        venue = Venue(server.url())
        settings = [f"ssl_{kind}_file = '{server.directory}/server.{kind[:3]}'" for kind in ("crt", "key")]
        for setting in [settings[0].replace("ssl_crt", "ssl_cert"), settings[1], "ssl = on"]:
            await venue.execute(f"ALTER SYSTEM SET {setting}")
        await venue.execute("SELECT pg_reload_conf()")
        while await venue.rows("SHOW ssl") != [("on",)]:
            await asyncio.sleep(0.01)
        known, unknown = (f"sslrootcert={server.directory}/{name}.crt" for name in ("server", "other"))
        named = server.url().replace("127.0.0.1", "localhost")
        assert await ask(f"{named}?{known}", "verify-full") is None
        assert await ask(f"{server.url()}?{known}", "verify-ca") is None
        assert await ask(server.url(), "require") is None
        for url in (f"{named}?{unknown}", f"{server.url()}?{known}", f"{named}?sslrootcert=system"):
            outcome = await ask(url, "verify-full")
            assert isinstance(outcome, Unclear), url
            assert "certificate" in outcome.message.lower()

    with running() as server:
        asyncio.run(whole(server))
