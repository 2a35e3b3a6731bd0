"""Single changes to what an operator of a data folder can reach: the log and the views. Each says what it did."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from typing import Any

from mnemolog.domain import canonical, chain
from mnemolog.domain.fact import SEALED

Change = Callable[[sqlite3.Connection, random.Random], str]
_FACTS = 'SELECT "offset", key, stream, headers, value FROM facts WHERE stream IS NOT NULL ORDER BY "offset"'


def _facts(database: sqlite3.Connection) -> list[Any]:
    return database.execute(_FACTS).fetchall()


def flip_value(database: sqlite3.Connection, dice: random.Random) -> str:
    """Flip one bit of a fact's value."""
    at, key, _, _, value = dice.choice(_facts(database))
    place = dice.randrange(len(value))
    changed = bytes([*value[:place], value[place] ^ (1 << dice.randrange(8)), *value[place + 1 :]])
    database.execute('UPDATE facts SET value = ? WHERE "offset" = ?', (changed, at))
    return f"bit of {key}"


def flip_header(database: sqlite3.Connection, dice: random.Random) -> str:
    """Change one character of a fact's header; a traceparent is nobody's claim."""
    at, key, _, text, _ = dice.choice(_facts(database))
    headers = json.loads(text)
    name = dice.choice([name for name in headers if headers[name] and name != "traceparent"])
    place = dice.randrange(len(headers[name]))
    letter = dice.choice([c for c in "0123456789abcxyz:-/" if c != headers[name][place]])
    headers[name] = headers[name][:place] + letter + headers[name][place + 1 :]
    database.execute('UPDATE facts SET headers = ? WHERE "offset" = ?', (json.dumps(headers), at))
    return f"header {name} of {key}"


def drop_fact(database: sqlite3.Connection, dice: random.Random) -> str:
    """Remove a fact."""
    at, key, *_ = dice.choice(_facts(database))
    database.execute('DELETE FROM facts WHERE "offset" = ?', (at,))
    return f"without {key}"


def drop_behind_a_null_record(database: sqlite3.Connection, dice: random.Random) -> str:
    """Remove a fact, and leave a null record as an erasure would."""
    at, key, *_ = dice.choice(_facts(database))
    database.execute('DELETE FROM facts WHERE "offset" = ?', (at,))
    database.execute("INSERT INTO facts (key, stream, headers, value) VALUES (?, NULL, '{}', NULL)", (key,))
    return f"null record for {key}"


def swap_facts(database: sqlite3.Connection, dice: random.Random) -> str:
    """Let two facts change places."""
    (one, *first), (other, *second) = dice.sample(_facts(database), 2)
    sql = 'UPDATE facts SET key = ?, stream = ?, headers = ?, value = ? WHERE "offset" = ?'
    database.execute(sql, (*second, one))
    database.execute(sql, (*first, other))
    return f"{first[0]} and {second[0]} swapped"


def double_fact(database: sqlite3.Connection, dice: random.Random) -> str:
    """Write a fact once more at the end."""
    _, *row = dice.choice(_facts(database))
    database.execute("INSERT INTO facts (key, stream, headers, value) VALUES (?, ?, ?, ?)", row)
    return f"{row[0]} twice"


def truncate(database: sqlite3.Connection, dice: random.Random) -> str:
    """Cut the end of the log off, some facts at least."""
    at = dice.choice(_facts(database)[-20:])[0]
    database.execute('DELETE FROM facts WHERE "offset" >= ?', (at,))
    return f"from {at} on"


def remove_stream(database: sqlite3.Connection, dice: random.Random) -> str:
    """Remove every trace of a stream."""
    name = dice.choice(sorted({row[2] for row in _facts(database)}))
    database.execute("DELETE FROM facts WHERE stream = ?1 OR substr(key, 1, length(?1) + 1) = ?1 || '@'", (name,))
    return f"without {name}"


def rewrite_the_end(database: sqlite3.Connection, dice: random.Random) -> str:
    """Change the last fact of a stream, its link and chain made anew as a sequencer would."""
    last = {row[2]: row for row in _facts(database)}
    at, key, stream, text, value = dice.choice(list(last.values()))
    headers = json.loads(text)
    said = canonical.loads(value)
    said["salt"] = f"{dice.getrandbits(256):064x}"
    forged = canonical.dumps(said)
    before = [r for r in _facts(database) if r[2] == stream][:-1]
    chained = bytes.fromhex(json.loads(before[-1][3])["chain"]) if before else chain.start(stream)
    link = chain.link([headers[name] for name in SEALED], chain.commitment(forged))
    headers["chain"] = chain.extend(chained, link).hex()
    database.execute('UPDATE facts SET headers = ?, value = ? WHERE "offset" = ?', (json.dumps(headers), forged, at))
    return f"{key} rewritten"


def edit_row(database: sqlite3.Connection, dice: random.Random) -> str:
    """Change, add or remove a field of a row."""
    identifier, key, text = dice.choice(database.execute("SELECT id, key, fields FROM view_rows").fetchall())
    fields = json.loads(text)
    name = dice.choice(sorted(fields))
    how = dice.choice(["change", "remove", "add"])
    if how == "change":
        fields[name] = [fields[name]]
    elif how == "remove":
        del fields[name]
    else:
        fields["more"] = 1
    database.execute("UPDATE view_rows SET fields = ? WHERE id = ?", (canonical.text(fields), identifier))
    return f"{how} {name} of row {key}"


def drop_row(database: sqlite3.Connection, dice: random.Random) -> str:
    """Remove a row, and leave its places."""
    identifier, key = dice.choice(database.execute("SELECT id, key FROM view_rows").fetchall())
    database.execute("DELETE FROM view_rows WHERE id = ?", (identifier,))
    return f"without row {key}"


def add_row(database: sqlite3.Connection, dice: random.Random) -> str:
    """Put a row that nobody wrote."""
    key = f"acme/memory/{dice.getrandbits(64):x}"
    database.execute("INSERT INTO view_rows (key, fields) VALUES (?, '{}')", (key,))
    return f"row {key}"


def edit_place(database: sqlite3.Connection, dice: random.Random) -> str:
    """Give a place another score, or take it out."""
    sql = 'SELECT "row", family, score FROM view_places'
    row, family, score = dice.choice(database.execute(sql).fetchall())
    if dice.random() < 0.5:
        sql = 'UPDATE view_places SET score = ? WHERE "row" = ? AND family = ?'
        database.execute(sql, (score + dice.choice([-1, 1]), row, family))
    else:
        database.execute('DELETE FROM view_places WHERE "row" = ? AND family = ?', (row, family))
    return f"place {row} {family}"


def edit_size(database: sqlite3.Connection, dice: random.Random) -> str:
    """Let an index say another size."""
    (identifier,) = dice.choice(database.execute("SELECT id FROM view_indexes").fetchall())
    database.execute("UPDATE view_indexes SET size = size + 1 WHERE id = ?", (identifier,))
    return f"size of index {identifier}"


OF_THE_LOG: tuple[Change, ...] = (
    flip_value,
    flip_header,
    drop_fact,
    drop_behind_a_null_record,
    swap_facts,
    double_fact,
    truncate,
    remove_stream,
    rewrite_the_end,
)
OF_THE_VIEWS: tuple[Change, ...] = (edit_row, drop_row, add_row, edit_place, edit_size)
