"""An evening of a small restaurant, played against a running DEORA and audited at its end.

    make run                                                          # in one terminal: an instance on port 3000
    python examples/evening.py --seed 7 --upstream data/upstream.db   # in another one

Twenty tills serve guests at the same time: they open orders, add dishes, take some back, count the stock down, write
bills and take payments. Each till is a thread with one keep-alive connection; everything is a plain call of the HTTP
API. `Waiter.serve_party` is the place to start reading; how a call is made stands in `evening_till.py`.

Every acknowledged write goes into a ledger. When the evening is over and the queue is empty, the audit compares that
ledger with what the API shows and with the file of the embedded `sqlite` upstream (`evening_audit.py`). They must be
equal, document by document and counter by counter: the exit code is 0 only then.

With `--chaos` the upstream is paused for the middle third of the evening and the primary worker is killed three times
(`evening_chaos.py`). Only the standard library is used.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import sys
import threading
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from evening_audit import Audit, in_parallel, wait_until_drained
from evening_chaos import Chaos
from evening_till import Connection, Document, EveningError, Ledger, Till

MENU = {  # id: (name, price in cents)
    "margherita": ("Pizza Margherita", 950),
    "quattro-formaggi": ("Pizza Quattro Formaggi", 1250),
    "tagliatelle": ("Tagliatelle al ragù", 1180),
    "risotto": ("Risotto ai funghi", 1340),
    "insalata": ("Insalata mista", 620),
    "tiramisù": ("Tiramisù", 580),
    "acqua": ("Acqua minerale, 0.5 l", 350),
    "rosso": ("Vino rosso, 0.2 l", 640),
    "espresso": ("Espresso", 240),
}
TABLES = [f"tables/{number}" for number in range(1, 25)]
PORTIONS_IN_STOCK = 10_000
PAYMENTS_FIRST = {"X_Deora_Priority": "9"}


class Waiter(Till):
    """One till and the person who uses it: their own dice, their own guests."""

    def __init__(self, evening: Evening, number: int) -> None:
        super().__init__(evening.url, evening.run, f"till-{number:02}", evening.ledger)
        self.evening = evening
        self.dice = random.Random(f"{evening.seed}/{self.name}")

    def work(self, quota: int) -> None:
        """Serve parties until `quota` writes are acknowledged."""
        try:
            while len(self.latencies_s) < quota:
                self.serve_party()
        except Exception as error:  # a till that fails is a finding of the audit, not the end of the program
            self.problems.append(f"{self.name} stopped: {type(error).__name__}: {error}")

    def serve_party(self) -> None:
        """Guests come, order, change their mind, eat, pay and leave."""
        guests = self.dice.randint(1, 6)
        table = self.dice.choice(TABLES)
        self.update(table, {"status": "taken", "guests": {"$increment": guests}, "tills": {"$arrayUnion": [self.name]}})
        order = self.open_order(table, guests)
        items = [self.add_dish(order, number) for number in range(1, guests + 1)]
        if len(items) > 1 and self.dice.random() < 0.3:
            self.take_back(order, items.pop())
        self.cook(order, items)
        self.take_payment(order)
        self.update(table, {"status": "free"})
        self.look_around(order, items)

    def open_order(self, table: str, guests: int) -> str:
        """Create an order under an id of the till's own; returns its path."""
        order = f"orders/{self.new_name()}"
        hour, minute = self.dice.randint(18, 22), self.dice.randint(0, 59)
        data = {"till": self.name, "table": {"$reference": table}, "guests": guests, "status": "open", "note": "new"}
        opened = {"$timestamp": f"2026-01-31T{hour}:{minute:02}:00.123456Z"}
        self.set(order, {**data, "opened": opened, "total_cents": 0, "dishes": []}, If_None_Match="*")
        return order

    def add_dish(self, order: str, number: int) -> str:
        """Add an item to an order and take it from the stock: in three calls, or in one atomic commit."""
        dish = self.dice.choice(list(MENU))
        price_cents = MENU[dish][1]
        count = self.dice.randint(1, 3)
        item = f"{order}/items/{number}"
        data = {"dish": dish, "count": count, "price_cents": price_cents, "status": "ordered", "size": 1.0}
        from_stock = {"left": {"$increment": -count}, "sold": {"$increment": count}}
        to_order = {"total_cents": {"$increment": count * price_cents}, "dishes": {"$arrayUnion": [dish]}}
        if self.dice.random() < 0.25:
            self.commit(("create", item, data), ("update", f"stock/{dish}", from_stock), ("update", order, to_order))
        else:
            self.set(item, data)
            self.update(f"stock/{dish}", from_stock)
            self.update(order, to_order)
        return item

    def take_back(self, order: str, item: str) -> None:
        """A guest changes their mind: the item goes, stock and total are put right."""
        ordered = self.ledger.documents[item]
        dish, count = ordered["dish"], ordered["count"]
        self.delete(item)
        self.commit(
            ("update", f"stock/{dish}", {"left": {"$increment": count}, "sold": {"$increment": -count}}),
            ("update", order, {"total_cents": {"$increment": -count * ordered["price_cents"]}}),
        )

    def cook(self, order: str, items: list[str]) -> None:
        """The kitchen takes the items one by one; they are served together."""
        for item in items:
            self.update(item, {"status": "cooking"})
        served = [("update", path, {"status": "served"}) for path in [*items, order]]
        self.commit(*served)

    def take_payment(self, order: str) -> None:
        """Write the bill and take the money; payments overtake everything else on the way to the cloud."""
        version = self.check(order)
        total_cents = self.ledger.documents[order]["total_cents"]
        bill = self.create("bills", {"order": {"$reference": order}, "total_cents": total_cents, "tax": 0.19})
        means = self.dice.choice(["cash", "card"])
        self.update(bill, {"paid_by": means, "paid_at": {"$serverTimestamp": True}}, **PAYMENTS_FIRST)
        takings = {f"{means}_cents": {"$increment": total_cents}, "bills": {"$increment": 1}}
        self.update("takings/today", {**takings, "largest_cents": {"$max": total_cents}}, **PAYMENTS_FIRST)
        # Nobody else writes this order, so the guard holds, however often the request was repeated on its way.
        self.update(order, {"status": "paid", "note": {"$delete": True}}, If_Match=f'"{version}"')
        self.check(bill, learn="paid_at")

    def look_around(self, order: str, items: list[str]) -> None:
        """Reads and queries between the writes; each must show what this till has just written."""
        listed = self.connection.get(f"/v1/documents/{quote(order)}/items")["documents"]
        self.expect(f"the items of {order}", sorted(items), sorted(document["path"] for document in listed))
        tonight = ("where", f"evening:eq:{json.dumps(self.run)}")
        still_open = urlencode([tonight, ("where", f"till:eq:{json.dumps(self.name)}"), ("where", 'status:eq:"open"')])
        self.expect("open orders", [], self.connection.get(f"/v1/documents/orders?{still_open}")["documents"])
        largest = urlencode([tonight, ("orderBy", "-total_cents"), ("limit", "5")])
        bills = self.connection.get(f"/v1/documents/bills?{largest}")["documents"]
        totals = [bill["data"]["total_cents"] for bill in bills]
        self.expect("the largest bills", sorted(totals, reverse=True), totals)
        dish = f"/v1/documents/menu/{quote(self.dice.choice(list(MENU)))}"
        version = self.connection.get(dish)["version"]
        self.expect("an unchanged dish", 304, self.connection.send("GET", dish, If_None_Match=f'"{version}"')[0])

    def _write(self, method: str, target: str, body: Document | None = None, **headers: str) -> Document:
        answer = super()._write(method, target, body, **headers)
        self.evening.count_write()
        return answer


class Evening:
    """One run: its tills, the ledger that they share, the count of writes, and what goes wrong when."""

    def __init__(self, url: str, seed: int, tills: int, writes: int) -> None:
        self.url = url
        self.seed = seed
        self.run = f"{seed}-{secrets.token_hex(4)}"  # the same seed can be played twice on one instance
        self.ledger = Ledger()
        self.target_writes = writes
        self.writes = 0
        self.chaos: Chaos | None = None
        self._lock = threading.Lock()
        self.tills = [Waiter(self, number) for number in range(1, tills + 1)]

    def count_write(self) -> None:
        """One more write was acknowledged; disturb the evening where it is time to."""
        with self._lock:
            self.writes += 1
            share = self.writes / self.target_writes
        if self.chaos is not None:
            self.chaos.advance(share)

    def open_restaurant(self) -> None:
        """Write the menu, count the stock, lay the tables."""
        host = self.tills[0]
        dishes = [("set", f"menu/{dish}", {"name": name, "price_cents": cents}) for dish, (name, cents) in MENU.items()]
        host.commit(*dishes)
        host.commit(*(("set", f"stock/{dish}", {"left": PORTIONS_IN_STOCK, "sold": 0}) for dish in MENU))
        host.commit(*(("set", table, {"status": "free", "guests": 0, "tills": []}) for table in TABLES))
        host.set("takings/today", {"cash_cents": 0, "card_cents": 0, "bills": 0, "largest_cents": 0})

    def serve(self) -> float:
        """All tills work at the same time until each has done its part; returns the seconds that it took."""
        quota = -(-self.target_writes // len(self.tills))
        started = time.perf_counter()
        in_parallel([partial(till.work, quota) for till in self.tills])
        return time.perf_counter() - started


def play(evening: Evening, upstream: Path, chaos: bool) -> list[str]:
    """Open, serve, drain and audit; prints the figures and returns the problems that were found."""
    try:
        Connection(evening.url, patience_s=1).get("/health/ready")
    except EveningError as error:
        raise EveningError(f"no instance is ready at {evening.url}: start one with `make run` ({error})") from error
    host = evening.tills[0].connection
    dead_before = host.get("/v1/queue")["dead"]
    evening.open_restaurant()
    wait_until_drained(host)
    Audit(evening.ledger, evening.run, upstream)  # a wrong --upstream shows now, not after the evening
    if chaos:
        evening.chaos = Chaos(evening.url)
    try:
        duration_s = evening.serve()
    finally:
        if evening.chaos is not None:
            evening.chaos.put_right()
    print_figures(evening, duration_s)
    problems = [problem for till in evening.tills for problem in till.problems]
    if evening.chaos is not None:
        problems += evening.chaos.findings()

    started = time.perf_counter()
    wait_until_drained(host)
    print(f"queue      empty {time.perf_counter() - started:.1f} s after the last write")
    audit = Audit(evening.ledger, evening.run, upstream)
    audit.compare_upstream()
    audit.compare_queue(host, dead_before)
    audit.compare_api(evening.tills)
    problems += audit.problems
    held, deleted = len(evening.ledger.documents), len(evening.ledger.deleted)
    verdict = "PASSED" if not problems else "FAILED"
    print(f"audit      {held:,} documents, {audit.counters} counters, {deleted} deleted documents: {verdict}")
    return problems


def print_figures(evening: Evening, duration_s: float) -> None:
    """Writes, their rate, and the latencies as the tills saw them."""
    latencies_ms = sorted(latency * 1000 for till in evening.tills for latency in till.latencies_s)
    repeated = sum(till.connection.repeated for till in evening.tills)
    p50, p99 = (latencies_ms[int(len(latencies_ms) * share)] for share in (0.5, 0.99))
    rate = f"{evening.writes / duration_s:,.0f} writes/s"
    print(f"writes     {evening.writes:,} in {duration_s:.1f} s, {rate}, {repeated} requests sent again")
    print(f"latency    p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {latencies_ms[-1]:.1f} ms")


def http_url(text: str) -> str:
    """An address such as http://127.0.0.1:3000, checked."""
    address = urlsplit(text)
    if address.scheme != "http" or not address.hostname or address.path.strip("/") or address.query:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address; expected one such as http://127.0.0.1:3000")
    return text.rstrip("/")


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def arguments() -> argparse.Namespace:
    """The command line; wrong usage ends with a message and exit code 2."""
    parser = argparse.ArgumentParser(description="Play an evening of a restaurant on a running DEORA, and audit it.")
    parser.add_argument("--url", type=http_url, default="http://127.0.0.1:3000", help="the instance (%(default)s)")
    parser.add_argument("--tills", type=count, default=20, help="tills that work at the same time (%(default)s)")
    parser.add_argument("--writes", type=count, default=5000, help="the least number of writes (%(default)s)")
    parser.add_argument("--seed", type=int, help="repeats an evening's decisions (default: a random one, printed)")
    parser.add_argument("--chaos", action="store_true", help="pause the upstream, kill the primary worker three times")
    parser.add_argument(
        "--upstream",
        type=Path,
        default=Path("data/upstream.db"),
        metavar="FILE",
        help="the file of the instance's sqlite upstream (%(default)s)",
    )
    options = parser.parse_args()
    if options.chaos and urlsplit(options.url).hostname not in ("127.0.0.1", "localhost", "::1"):
        parser.error("--chaos kills a process by its pid, so the instance must run on this machine")
    return options


def main() -> int:
    """Play and audit; 0 if the audit passed, 1 if not."""
    options = arguments()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    print(f"evening    seed {seed}, {options.tills} tills, at least {options.writes:,} writes, {options.url}")
    evening = Evening(options.url, seed, options.tills, options.writes)
    try:
        problems = play(evening, options.upstream, options.chaos)
    except EveningError as error:
        problems = [str(error)]
    for problem in problems[:10]:
        print(f"  - {problem}")
    if len(problems) > 10:
        print(f"  and {len(problems) - 10} more")
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: the evening was not audited")
