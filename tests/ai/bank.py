"""A world of accounts, and tools that reach it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from cascada import Cache
from cascada.ai import Tools


class Bank:
    """A world of accounts, with the tools that reach it; `ran` counts their calls."""

    def __init__(self, cache: Cache, **how: Any) -> None:
        self.money = {"a1": 1, "a2": 2, "b1": 3}
        self.ran: Counter[str] = Counter()
        self.tools = tools = Tools(cache, **{"tenant": "acme", **how})

        @tools.reads(("account", "{account}"))
        async def balance(account: str, currency: str = "EUR") -> int:
            self.ran["balance"] += 1
            return self.money[account]

        @tools.reads(("account", "*"))
        def accounts() -> list[str]:
            self.ran["accounts"] += 1
            return sorted(self.money)

        @tools.writes(("account", "{source}"), ("account", "{target}"))
        async def transfer(source: str, target: str, amount: int) -> str:
            self.ran["transfer"] += 1
            self.money[source] -= amount
            if amount > 100:
                raise ValueError("half of it was done")
            self.money[target] += amount
            return "done"

        @tools.writes(("account", "{account}"))
        def deposit(account: str, amount: int) -> int:
            self.ran["deposit"] += 1
            self.money[account] += amount
            return self.money[account]

        self.balance, self.accounts = balance, accounts
        self.transfer, self.deposit = transfer, deposit

    async def say(self, name: str, **arguments: Any) -> Any:
        return await self.tools.call(name, json.dumps(arguments))

    async def balances(self) -> dict[str, int]:
        return {each: await self.say("balance", account=each) for each in ("a1", "a2", "b1")}
