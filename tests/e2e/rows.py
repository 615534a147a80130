"""The rows of a running stack, read from its database file beside Django."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

SERVICE = "echo-server"
Row = dict[str, Any]


class Rows:
    """``state`` is the folder of the stack. Labels and slugs name things, as people do."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Read the database file, beside Django; no rows while there is no such table."""
        path = self.state / "meshui.sqlite3"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as file:
            file.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in file.execute(sql, values)]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error) or "unable to open" in str(error):
                    return []
                raise

    def write(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.state / "meshui.sqlite3", timeout=20)) as file, file:
            file.execute(sql, values)

    def service(self, slug: str = SERVICE) -> Row:
        (row,) = self.rows("SELECT * FROM rollouts_service WHERE slug = ?", slug)
        return row

    def version(self, label: str, service: str = SERVICE) -> Row:
        (row,) = self.rows(
            "SELECT v.* FROM rollouts_version v JOIN rollouts_service s ON s.id = v.service_id"
            " WHERE s.slug = ? AND v.label = ?", service, label,
        )  # fmt: skip
        return row

    def rollout(self, number: int) -> Row:
        (row,) = self.rows("SELECT * FROM rollouts_rollout WHERE id = ?", number)
        return row

    def weights(self, service: str = SERVICE) -> Mapping[str, int]:
        """Percent by label, as stored; versions with nothing are left out."""
        labels = {
            str(row["id"]): str(row["label"])
            for row in self.rows(
                "SELECT v.id, v.label FROM rollouts_version v JOIN rollouts_service s"
                " ON s.id = v.service_id WHERE s.slug = ?", service,
            )
        }  # fmt: skip
        stored = json.loads(self.service(service)["weights"])
        return {labels[pk]: weight for pk, weight in stored.items() if weight}

    def settled(self, service: str = SERVICE) -> bool:
        """Has every proxy confirmed the newest weights?"""
        rows = self.rows(
            "SELECT r.confirmed_at FROM rollouts_route r JOIN rollouts_service s"
            " ON s.id = r.service_id WHERE s.slug = ? ORDER BY r.generation DESC LIMIT 1", service,
        )  # fmt: skip
        return bool(rows and rows[0]["confirmed_at"])
